"""The options of a patch."""

from __future__ import annotations

import dataclasses
import types

from tf_fastbert.quantization.modes import QUANT_MODES

_ALLOWED = {
    "floatx": ("float32", "float16", "bfloat16"),
    "precision": ("default", "tf32", "float32", "fp8"),
    "int8_mode": (0, 1, 2, 3),
    "quant_mode": (None, *QUANT_MODES),
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
    int8_mode: int = 0
    quant_mode: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")
        if not isinstance(self.remove_padding, bool):
            raise TypeError(f"remove_padding is {self.remove_padding!r}; it must be True or False")
        if self.int8_mode and self.precision == "fp8":
            raise ValueError(f"int8_mode={self.int8_mode} and precision='fp8' are two ways to quantize: choose one")
        if self.quant_mode and self.quantization:
            raise ValueError(
                f"quant_mode={self.quant_mode!r} is for float checkpoints with quantizers, int8_mode and precision='fp8' are for "
                "quantized ones: choose one"
            )
        if self.quant_mode and self.is_16_bit:
            raise ValueError(f"quant_mode={self.quant_mode!r} runs in float32, not in {self.floatx}")

    @property
    def is_16_bit(self) -> bool:
        return self.floatx != "float32"

    @property
    def quantization(self) -> str | None:
        """The attribute of fast_bert_quantized_encoder, or None."""
        if self.precision == "fp8":
            return "fp8"
        # Mode 3 runs mode 2's kernels; only the training differs.
        return f"int8_mode{min(self.int8_mode, 2)}" if self.int8_mode else None
