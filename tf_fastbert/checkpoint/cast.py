"""Casts the variables of a checkpoint to a 16-bit type."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tf_fastbert.checkpoint.errors import CheckpointError
from tf_fastbert.checkpoint.reader import Checkpoint, Variable
from tf_fastbert.checkpoint.writer import write_checkpoint

DTYPES = ("float16", "bfloat16")
# Quantizers' ranges stay float32: the kernels that use them take float32 scales.
KEPT_IN_FLOAT32 = ("quant", "amaxList")
_SLOT = re.compile(
    r"(.+)/(adam_[mv]|lamb_[mv]|Adam(_1)?|Momentum|RMSProp(_1)?|Adagrad|Adadelta(_1)?|Ftrl(_1)?|LAMB(_1)?)$"
)
_OPTIMIZER_SCALAR = re.compile(r"(^|/)beta[12]_power(_\d+)?$|^loss_scale($|/)|^good_steps$")


class CastReport(NamedTuple):
    """What cast_checkpoint did, as variable names."""

    cast: list[str]
    kept: list[str]
    dropped: list[str]


def optimizer_slots(names: Iterable[str]) -> set[str]:
    """Those of `names` that only training needs: the optimizer's moments of another variable in `names`, and its scalars."""
    names = set(names)
    slots = set()
    for name in names:
        match = _SLOT.match(name)
        if (match and match.group(1) in names) or _OPTIMIZER_SCALAR.search(name):
            slots.add(name)
    return slots


def not_cast(variables: Mapping[str, Variable]) -> set[str]:
    """Those of a checkpoint's variables that keep their type in a 16-bit checkpoint."""
    slots = optimizer_slots(variables)
    return {
        name
        for name, variable in variables.items()
        if not variable.dtype.is_floating or name in slots or any(part in name for part in KEPT_IN_FLOAT32)
    }


def cast_checkpoint(
    source: str,
    destination: str,
    dtype: str = "float16",
    *,
    keep_optimizer_slots: bool = False,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> CastReport:
    """Writes the checkpoint `source` to the prefix `destination` with its float variables in `dtype`.

    Left as they are: integers, strings, variables with "quant" or "amaxList" in their name, and optimizer slots where they are
    kept (Adam's second moments vanish in float16). One variable is read at a time; the cast ones are held until all are
    written, so the peak is about half the size of a float32 checkpoint.

    Args:
      progress: wraps the list of names to iterate over, for a progress bar.

    Raises:
      CheckpointError: `source` is missing or damaged, `destination` is the same checkpoint or cannot be written, or a value is
        too large for `dtype`; then nothing is written.
    """
    import tensorflow as tf

    if dtype not in DTYPES:
        raise CheckpointError(f"cannot cast a checkpoint to {dtype}: choose one of {', '.join(DTYPES)}")
    target = tf.as_dtype(dtype)
    checkpoint = Checkpoint(source)
    if os.path.realpath(checkpoint.prefix) == os.path.realpath(destination):
        raise CheckpointError(f"{destination} is the input checkpoint itself: give another name to write to")

    dropped = [] if keep_optimizer_slots else sorted(optimizer_slots(checkpoint.variables))
    kept = not_cast(checkpoint.variables)
    report = CastReport(cast=[], kept=[], dropped=dropped)
    tensors = {}
    for name in progress([n for n in checkpoint.variables if n not in set(dropped)]):
        values = checkpoint.read(name)
        tensors[name] = values if name in kept else cast_values(checkpoint.prefix, name, values, target)
        (report.kept if name in kept else report.cast).append(name)
    write_checkpoint(destination, tensors)
    return report


def cast_values(prefix: str, name: str, values: np.ndarray, target: Any) -> np.ndarray:
    """The values of a variable in the float type `target`, a tf.DType.

    Raises:
      CheckpointError: a finite value overflows; the message names the checkpoint `prefix` and the variable.
    """
    with np.errstate(over="ignore"):
        result = values.astype(target.as_numpy_dtype)
    overflow = np.isinf(result) & np.isfinite(values)
    if overflow.any():
        largest = np.abs(values[overflow]).max()
        raise CheckpointError(
            f"checkpoint {prefix}: variable {name} does not fit {target.name}: {np.count_nonzero(overflow)} of {values.size} "
            f"values overflow, the largest is {largest:.6g} and {target.name} ends at {float(target.max):.6g}"
            + ("; bfloat16 would hold it" if target.name == "float16" and largest < 3e38 else "")
        )
    return result
