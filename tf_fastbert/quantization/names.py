"""The quantizers of a layer: fields, as in cc/encoder.h's LayerRanges, and the names of their variables.

A quantizer's range is kept in two float32 variables, `<path>/quant_max` and `<path>/quant_min`, below
`bert/encoder/layer_<i>/`. Its amax is the larger of |quant_max| and |quant_min|.
"""

from __future__ import annotations

import re

SCOPE = "bert/encoder"
MAX, MIN = "quant_max", "quant_min"
AMAX_LIST = "amaxList"

# "sum" is a matrix product before its bias is added ("aftergemm"). In the order in which amaxList has them.
ACTIVATIONS: dict[str, str] = {
    "attention_input": "attention/self/query/input_quantizer",
    "query_sum": "attention/self/query/aftergemm_quantizer",
    "query": "attention/self/matmul_q_input_quantizer",
    "key_sum": "attention/self/key/aftergemm_quantizer",
    "key": "attention/self/matmul_k_input_quantizer",
    "value_sum": "attention/self/value/aftergemm_quantizer",
    "value": "attention/self/matmul_v_input_quantizer",
    "softmax_input": "attention/self/softmax_input_quantizer",  # query * key', not yet divided by sqrt(size_per_head)
    "softmax_output": "attention/self/matmul_a_input_quantizer",
    "context": "attention/output/dense/input_quantizer",
    "attention_output_sum": "attention/output/dense/aftergemm_quantizer",
    "intermediate_input": "intermediate/dense/input_quantizer",
    "intermediate_sum": "intermediate/dense/aftergemm_quantizer",
    "output_input": "output/dense/input_quantizer",
    "output_sum": "output/dense/aftergemm_quantizer",
}  # fmt: skip

# Fields of ops.LayerWeights. In the order in which amaxList has them.
KERNELS: dict[str, str] = {
    "query_kernel": "attention/self/query/kernel_quantizer",
    "key_kernel": "attention/self/key/kernel_quantizer",
    "value_kernel": "attention/self/value/kernel_quantizer",
    "attention_output_kernel": "attention/output/dense/kernel_quantizer",
    "intermediate_kernel": "intermediate/dense/kernel_quantizer",
    "output_kernel": "output/dense/kernel_quantizer",
}

# Any quantizer's variable, the ancestor's others (residual, local and final inputs) included.
_RANGE = re.compile(r"(^|/)\w*quantizer/quant_(max|min)$")


def layer_path(layer: int, scope: str = SCOPE) -> str:
    return f"{scope}/layer_{layer}"


def range_names(layer: int, field: str, scope: str = SCOPE) -> tuple[str, str]:
    """The names of the variables (quant_max, quant_min) of a quantizer."""
    path = f"{layer_path(layer, scope)}/{ACTIVATIONS.get(field) or KERNELS[field]}"
    return f"{path}/{MAX}", f"{path}/{MIN}"


def amax_list_name(layer: int, scope: str = SCOPE) -> str:
    return f"{layer_path(layer, scope)}/{AMAX_LIST}"


def is_range(name: str) -> bool:
    """Whether a variable is a quantizer's quant_max or quant_min."""
    return _RANGE.search(name) is not None
