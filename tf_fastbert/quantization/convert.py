"""A checkpoint with quantizers -> one that runs quantized: int8 kernels under their own names, and an amaxList for each layer.

Left out: the quantizers' variables, whose ranges the amaxLists have, and optimizer slots. Everything else stays as it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tf_fastbert.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from tf_fastbert.checkpoint.cast import optimizer_slots
from tf_fastbert.quantization import amax_list, names
from tf_fastbert.quantization.detect import Kind, kernel_name, kind_of, num_layers
from tf_fastbert.quantization.modes import BY_INT8_MODE


class ConvertReport(NamedTuple):
    """What quantize_checkpoint did.

    Attributes:
      layers: number of encoder layers.
      bytes_before, bytes_after: of the data of all variables; before: optimizer slots not counted.
      clipped: the largest part of a kernel's weights that lie outside its range, and that kernel's name.
      dropped: names of variables left out.
      seconds: wall time.
    """

    layers: int
    bytes_before: int
    bytes_after: int
    clipped: tuple[float, str]
    dropped: list[str]
    seconds: float


def quantize_kernel(kernel: np.ndarray, amax: np.ndarray) -> np.ndarray:
    """int8 [in, out]: clamp(round_half_away(kernel * 127 / amax), -127, 127). amax: a scalar or [out], positive."""
    scaled = np.asarray(kernel, np.float32) * (np.float32(127) / np.asarray(amax, np.float32))
    rounded = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled)
    return np.clip(rounded, -127, 127).astype(np.int8)


def quantize_checkpoint(
    source: str,
    destination: str,
    mode: int | str,
    *,
    progress: Callable[[list[int]], Iterable[int]] = iter,
) -> ConvertReport:
    """Writes `source` quantized to the prefix `destination`. Needs no GPU; the peak of memory is about what is written.

    Args:
      source: a calibrated or quantization-aware trained checkpoint, float32, float16 or bfloat16.
      mode: int8_mode 1, 2 or 3, which take one range for each output channel of a kernel (2 and 3: or one for all), or "fp8":
        kernels stay as they are, the rest is the same.
      progress: wraps the list of layers, for a bar.

    Raises:
      CheckpointError: `source` is unreadable, of another kind, lacks a quantizer or has a bad range, belongs to another mode, or
        is `destination`. The message says what to do. Nothing is written then.
    """
    start = time.monotonic()
    if mode not in (*BY_INT8_MODE, "fp8"):
        raise CheckpointError(f"mode is {mode!r}; it must be 1, 2, 3 or 'fp8'")
    checkpoint = Checkpoint(source)
    if os.path.realpath(checkpoint.prefix) == os.path.realpath(destination):
        raise CheckpointError(f"{destination} is the input checkpoint itself: give another name to write to")
    _check_kind(checkpoint, mode)
    layers = num_layers(checkpoint)
    slots = optimizer_slots(checkpoint.variables)
    dropped = sorted(name for name in checkpoint.variables if names.is_range(name) or name in slots)
    tensors = {}
    clipped = (0.0, "")
    for layer in progress(list(range(layers))):
        kernels, ranges = {}, {}
        for field in names.KERNELS:
            name = kernel_name(layer, field)
            kernels[name] = _read_kernel(checkpoint, name)
            ranges[field] = _read_range(checkpoint, layer, field, kernels[name].shape[1])
            if mode == "fp8":  # one scale for each kernel
                ranges[field] = ranges[field].max()
            outside = float(np.mean(np.abs(kernels[name].astype(np.float32)) > ranges[field] * np.float32(1.001)))
            clipped = max(clipped, (outside, name))
            if mode != "fp8":
                kernels[name] = quantize_kernel(kernels[name], ranges[field])
        tensors.update(kernels)
        tensors[names.amax_list_name(layer)] = _build_list(checkpoint, layer, layers, ranges, kernels)
    for name in checkpoint.variables:
        if name not in tensors and name not in dropped:
            tensors[name] = checkpoint.read(name)
    write_checkpoint(destination, tensors)
    before = sum(
        int(np.prod(variable.shape)) * variable.dtype.size for name, variable in checkpoint.variables.items() if name not in slots
    )
    after = sum(np.asarray(value).nbytes for value in tensors.values())
    return ConvertReport(layers, before, after, clipped, dropped, time.monotonic() - start)


def _check_kind(checkpoint: Checkpoint, mode: int | str) -> None:
    kind = kind_of(checkpoint)
    prefix = checkpoint.prefix
    if not num_layers(checkpoint):
        raise CheckpointError(
            f"checkpoint {prefix} has no variables {names.SCOPE}/layer_<i>/...: it is no BERT in Google's format"
        )
    if kind is Kind.PLAIN:
        raise CheckpointError(
            f"checkpoint {prefix} has no quantizers (no .../quant_max): run tools/ckpt_calibrate.py on it first, or train with "
            "--quant_mode"
        )
    if kind is Kind.PACKED:
        raise CheckpointError(
            f"checkpoint {prefix} was quantized by FasterTransformer: int8 bytes, in an order made for one family of GPUs, "
            "inside float32 variables, from which the weights cannot be had back safely. Quantize the float checkpoint with "
            "quantizers that it was made from"
        )
    if kind in (Kind.INT8, Kind.FP8):
        raise CheckpointError(f"checkpoint {prefix} is quantized already ({kind.value}): run it as it is")
    if mode == 1 and not _is_per_channel(checkpoint):
        raise CheckpointError(
            f"checkpoint {prefix} has one range for each kernel (trained by the ancestor's quant_mode ft2 or ft3, or "
            "calibrated for fp8), but int8_mode 1 takes one for each output channel: use --int8_mode=2 or 3, or calibrate "
            "it with --quant_mode=ft1"
        )


def _is_per_channel(checkpoint: Checkpoint) -> bool:
    variable = checkpoint.variables.get(names.range_names(0, "query_kernel")[0])
    return variable is not None and len(variable.shape) == 1


def _read_kernel(checkpoint: Checkpoint, name: str) -> np.ndarray:
    variable = checkpoint.variables.get(name)
    if variable is None:
        raise CheckpointError(f"checkpoint {checkpoint.prefix} has no variable {name}")
    if len(variable.shape) != 2 or not variable.dtype.is_floating:
        raise CheckpointError(
            f"checkpoint {checkpoint.prefix}: variable {name} is {variable.dtype.name} {list(variable.shape)}, expected a "
            "float matrix"
        )
    values = checkpoint.read(name)
    if not np.isfinite(values.astype(np.float32)).all():
        raise CheckpointError(f"checkpoint {checkpoint.prefix}: variable {name} has values that are not finite")
    return values


def _read_range(checkpoint: Checkpoint, layer: int, field: str, width: int = 0) -> np.ndarray:
    """The amax of a quantizer: the larger of |quant_max| and |quant_min|. float32, a scalar, or [width] for a kernel of that
    width."""
    values = []
    for name in names.range_names(layer, field):
        variable = checkpoint.variables.get(name)
        if variable is None:
            raise CheckpointError(
                f"checkpoint {checkpoint.prefix} has quantizers, but {name} is missing: calibrate it again with "
                "tools/ckpt_calibrate.py"
            )
        allowed = ((), (width,)) if field in names.KERNELS else ((),)
        if variable.shape not in allowed:
            raise CheckpointError(
                f"checkpoint {checkpoint.prefix}: variable {name} has shape {list(variable.shape)}, expected "
                + " or ".join(str(list(shape)) for shape in allowed)
            )
        values.append(np.abs(checkpoint.read(name).astype(np.float32)))
    amax = np.maximum(*values)
    # NumPy's maximum passes NaN on, whichever of the two it is.
    if not (np.isfinite(amax) & (amax > 0)).all():
        worst = amax[~(np.isfinite(amax) & (amax > 0))].flat[0] if np.ndim(amax) else amax
        raise CheckpointError(
            f"checkpoint {checkpoint.prefix}: the range of {names.range_names(layer, field)[0].rpartition('/')[0]} is "
            f"{worst:g}: it must be a positive number; calibrate again with tools/ckpt_calibrate.py"
        )
    return amax


def _build_list(
    checkpoint: Checkpoint, layer: int, layers: int, kernel_ranges: dict[str, np.ndarray], kernels: dict[str, np.ndarray]
) -> np.ndarray:
    activations = {field: float(_read_range(checkpoint, layer, field)) for field in names.ACTIVATIONS}
    next_input = float(_read_range(checkpoint, layer + 1, "attention_input")) if layer + 1 < layers else 1.0
    hidden_size, inner_size = kernels[kernel_name(layer, "intermediate_kernel")].shape
    return amax_list.build(activations, kernel_ranges, hidden_size, inner_size, next_input)
