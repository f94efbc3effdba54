"""Whether a checkpoint fits the flags that say how the model is quantized, and what to run where it does not."""

from __future__ import annotations

import dataclasses

import numpy as np

from tf_fastbert.checkpoint import Checkpoint, CheckpointError
from tf_fastbert.config import BertConfig
from tf_fastbert.quantization import amax_list, detect, names
from tf_fastbert.quantization.detect import Kind
from tf_fastbert.wrap.errors import WrapError


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The flags --int8_mode, --precision=fp8 and --quant_mode; at most one of them is set."""

    int8_mode: int = 0
    fp8: bool = False
    quant_mode: str | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of checkpoints that fit."""
        if self.int8_mode:
            return (Kind.INT8,)
        if self.fp8:
            return (Kind.FP8,)
        return (Kind.CALIBRATED,) if self.quant_mode else (Kind.PLAIN, Kind.CALIBRATED)

    @property
    def flag(self) -> str:
        if self.int8_mode:
            return f"--int8_mode={self.int8_mode}"
        return "--precision=fp8" if self.fp8 else f"--quant_mode={self.quant_mode}" if self.quant_mode else "--int8_mode=0"

    def variables(self, config: BertConfig) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the variables that the model has in addition."""
        if not self.int8_mode and not self.fp8:
            return {}
        size = amax_list.size(config.hidden_size, config.intermediate_size)
        return {names.amax_list_name(layer): (size,) for layer in range(config.num_hidden_layers)}


def check(checkpoint: Checkpoint, flag: str, wanted: Wanted, config: BertConfig) -> None:
    """Sees that a checkpoint is of the kind that the flags ask for, and that its ranges are good.

    Args:
      flag: where its path comes from, for messages.

    Raises:
      WrapError: it is not; the message says what to run.
    """
    kind = detect.kind_of(checkpoint)
    name = f"{flag}={checkpoint.prefix}"
    if kind not in wanted.kinds:
        raise WrapError(f"{name} is {kind.value}, which does not go with {wanted.flag}: {_advice(kind, wanted)}")
    if wanted.quant_mode:
        _check_quantizers(checkpoint, name, config)
    for layer_name in wanted.variables(config):
        if layer_name in checkpoint.variables:  # missing ones and wrong shapes are reported with all others
            _check_amax_list(checkpoint, name, layer_name, config)


def _advice(kind: Kind, wanted: Wanted) -> str:
    if kind is Kind.PACKED:
        return (
            "its weights are in an order made for one family of GPUs; quantize the float checkpoint with quantizers that it "
            "was made from with tools/ckpt_quantization.py"
        )
    if kind is Kind.INT8:
        return "run with --int8_mode=1, 2 or 3 (what it was quantized for)"
    if kind is Kind.FP8:
        return "run with --precision=fp8"
    convert = f"tools/ckpt_quantization.py {wanted.flag}"
    if kind is Kind.CALIBRATED:
        return f"quantize it with {convert}"
    calibrate = f"tools/ckpt_calibrate.py --quant_mode={wanted.quant_mode or ('fp8' if wanted.fp8 else f'ft{wanted.int8_mode}')}"
    return f"calibrate it with {calibrate}" + ("" if wanted.quant_mode else f", then quantize it with {convert}")


def _check_quantizers(checkpoint: Checkpoint, name: str, config: BertConfig) -> None:
    for layer in range(config.num_hidden_layers):
        for field in (*names.ACTIVATIONS, *names.KERNELS):
            width = config.intermediate_size if field == "intermediate_kernel" else config.hidden_size
            shape = (width,) if field in names.KERNELS else ()
            for variable_name in names.range_names(layer, field):
                variable = checkpoint.variables.get(variable_name)
                if variable is None:
                    raise WrapError(f"{name} has quantizers, but {variable_name} is missing: calibrate it again")
                if variable.shape != shape:
                    raise WrapError(
                        f"{name}: variable {variable_name} has shape {list(variable.shape)}, expected {list(shape)} (a range "
                        "for each output channel): calibrate it again with tools/ckpt_calibrate.py"
                    )


def _check_amax_list(checkpoint: Checkpoint, name: str, list_name: str, config: BertConfig) -> None:
    try:
        amax_list.parse(checkpoint.read(list_name), config.hidden_size, config.intermediate_size)
    except CheckpointError as error:
        raise WrapError(f"{name}: {error}") from error
    except ValueError as error:
        raise WrapError(f"{name}: variable {list_name}: {error}; quantize the checkpoint again") from error


def dequantized(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A checkpoint's tensors with its int8 kernels as float32, for Google's own graph; others as they are."""
    result = dict(tensors)
    layer = 0
    while (list_name := names.amax_list_name(layer)) in tensors:
        hidden_size, inner_size = tensors[detect.kernel_name(layer, "intermediate_kernel")].shape
        ranges = amax_list.parse(tensors[list_name], hidden_size, inner_size)
        for field, amax in ranges.kernels.items():
            kernel = tensors[detect.kernel_name(layer, field)]
            if kernel.dtype == np.int8:
                result[detect.kernel_name(layer, field)] = kernel * (amax / np.float32(127))
        layer += 1
    return result
