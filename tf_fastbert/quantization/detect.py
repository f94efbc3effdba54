"""What kind of checkpoint it is: plain, with quantizers, quantized by us, or in the ancestor's packed layout."""

from __future__ import annotations

import enum
import re

import numpy as np

from tf_fastbert.checkpoint import Checkpoint
from tf_fastbert.quantization import amax_list, names

_LAYER = re.compile(re.escape(names.SCOPE) + r"/layer_(\d+)/")
# Bytes of int8 read as float32 are of any size up to 1e38, most of them far above the kernel's range or far below.
_PACKED_RATIO = 8.0


class Kind(enum.Enum):
    PLAIN = "a float checkpoint without quantizers"
    CALIBRATED = "a float checkpoint with quantizers"
    INT8 = "an int8 checkpoint"
    FP8 = "a checkpoint for fp8"
    PACKED = "a checkpoint in FasterTransformer's packed int8 layout"


def num_layers(checkpoint: Checkpoint) -> int:
    """Number of encoder layers, 0 if it has none."""
    return max((int(match[1]) + 1 for match in map(_LAYER.match, checkpoint.variables) if match), default=0)


def kernel_name(layer: int, field: str) -> str:
    return f"{names.layer_path(layer)}/{names.KERNELS[field].removesuffix('_quantizer')}"


def kind_of(checkpoint: Checkpoint) -> Kind:
    """Looks at the names and types; for a float checkpoint with amaxLists also at one kernel."""
    kernel = kernel_name(0, "query_kernel")
    variable = checkpoint.variables.get(kernel)
    if variable is not None and variable.dtype.name == "int8":
        return Kind.INT8
    list_name = names.amax_list_name(0)
    if list_name in checkpoint.variables:
        if variable is None or len(variable.shape) != 2:
            return Kind.PACKED
        largest = float(np.max(amax_list.first_kernel(checkpoint.read(list_name), variable.shape[1])))
        with np.errstate(invalid="ignore"):
            values = checkpoint.read(kernel).astype(np.float32)
        plausible = np.isfinite(values).all() and largest / _PACKED_RATIO <= np.abs(values).max() <= largest * _PACKED_RATIO
        return Kind.FP8 if plausible else Kind.PACKED
    return Kind.CALIBRATED if any(map(names.is_range, checkpoint.variables)) else Kind.PLAIN
