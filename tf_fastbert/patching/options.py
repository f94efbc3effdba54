"""The options of a patch."""

from __future__ import annotations

import dataclasses
import types

_ALLOWED = {
    "floatx": ("float32", "float16", "bfloat16"),
    "precision": ("default", "tf32", "float32"),
    "custom_mask": ("refuse", "stock"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """See tf_fastbert.patch.

    Raises:
      TypeError, ValueError: a value that is none of the allowed ones.
    """

    floatx: str = "float32"
    remove_padding: bool = True
    precision: str = "default"
    custom_mask: str = "refuse"
    run_squad: types.ModuleType | None = None

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")
        if not isinstance(self.remove_padding, bool):
            raise TypeError(f"remove_padding is {self.remove_padding!r}; it must be True or False")

    @property
    def is_16_bit(self) -> bool:
        return self.floatx != "float32"
