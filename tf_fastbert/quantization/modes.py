"""The modes of training and of running: which quantizers are on, and how fine the kernels' ranges are.

The ancestor's ft1, ft2 and ft3 say where fake quantizers stand; int8_mode 1, 2 and 3 run what they trained. A quantizer that is off
has a range all the same, as amaxList has a place for it.
"""

from __future__ import annotations

import dataclasses

from tf_fastbert.quantization import names

_SUMS = frozenset(field for field in names.ACTIVATIONS if field.endswith("_sum"))
# The four inputs of the six matrix products with weights.
PRODUCT_INPUTS = frozenset({"attention_input", "context", "intermediate_input", "output_input"})
_ALL = frozenset(names.ACTIVATIONS)


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a layer is quantized.

    Attributes:
      name: ft1, ft2, ft3 or fp8.
      on: fields of the activations that are quantized.
      per_channel: kernels have a range for each output channel; else one for all.
      residual: the residual connections carry the quantized layer input and intermediate input.
      shared_qkv: query, key and value share one range: of the kernels, the sums and the operands of the attention.
      fp8: E4M3 numbers instead of int8.
    """

    name: str
    on: frozenset[str]
    per_channel: bool = False
    residual: bool = False
    shared_qkv: bool = False
    fp8: bool = False


FT1 = Mode("ft1", on=_ALL - _SUMS - {"softmax_input"}, per_channel=True)
FT2 = Mode("ft2", on=_ALL - {"softmax_input"}, residual=True, shared_qkv=True)
FT3 = Mode("ft3", on=_ALL, residual=True, shared_qkv=True)
FP8 = Mode("fp8", on=PRODUCT_INPUTS, fp8=True)

BY_NAME = {mode.name: mode for mode in (FT1, FT2, FT3, FP8)}
QUANT_MODES = ("ft1", "ft2", "ft3")
# The flag --int8_mode -> the mode of training that belongs to it.
BY_INT8_MODE = {1: FT1, 2: FT2, 3: FT3}

_QKV = (
    ("query_kernel", "key_kernel", "value_kernel"),
    ("query_sum", "key_sum", "value_sum"),
    ("query", "key", "value"),
)


def shared_with(field: str) -> tuple[str, ...]:
    """The fields, `field` among them, that have one range where query, key and value share theirs."""
    return next((group for group in _QKV if field in group), (field,))
