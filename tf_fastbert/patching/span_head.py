"""The head of Google's run_squad as one op.

Its create_model makes nine operations behind the encoder, each of which costs TensorFlow's executor more time than a GPU needs for all
of them. Where the logits that it returned come from just these operations, they are computed by FastBertSpanLogits instead, from
the same tensors, so TensorFlow prunes Google's from runs that do not fetch them. Any other head, such as one with a layer more, is
left as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from tf_fastbert import op_inputs, ops

_FLOATS = op_inputs.DTYPES
# From its end: unstack(transpose(reshape(reshape(hidden) x weights' + bias))).
_CHAIN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Unpack", {"axis": 0, "num": 2}),
    ("Transpose", {}),
    ("Reshape", {}),
    ("BiasAdd", {"data_format": b"NHWC"}),
    ("MatMul", {"transpose_a": False, "transpose_b": True}),
    ("Reshape", {}),
)


class _Head(NamedTuple):
    hidden_states: Any  # [B, S, H]
    weights: Any  # [2, H]
    bias: Any  # [2]


def logits(start_logits: Any, end_logits: Any, mask: Any, padding: float) -> tuple[Any, Any] | None:
    """create_model's logits by one op, `padding` where mask, int32 [B, S], is 0; None if they come from another head than Google's."""
    head = _find(start_logits, end_logits)
    if head is None or mask.shape.rank != 2 or not mask.shape.is_compatible_with(head.hidden_states.shape[:2]):
        return None
    return ops.fast_bert_span_logits(head.hidden_states, head.weights, head.bias, mask, padding=padding, name="span_logits")


def _find(start_logits: Any, end_logits: Any) -> _Head | None:
    """What the logits are made of; None if it is not what _CHAIN says."""
    operations = []
    tensor = start_logits
    for kind, attributes in _CHAIN:
        operation = _made_by(kind, tensor, attributes)
        if operation is None:
            return None
        operations.append(operation)
        tensor = operation.inputs[0]
    unstack, transpose, by_token, bias_add, matmul, flat = operations
    head = _Head(*map(_before_cast, (flat.inputs[0], matmul.inputs[1], bias_add.inputs[1])))
    hidden_size = _dims(head.hidden_states)[2:]
    fits = (
        list(unstack.outputs) == [start_logits, end_logits]
        and _is_constant(transpose.inputs[1], [2, 0, 1])
        and head.hidden_states.dtype in _FLOATS
        and head.weights.dtype.base_dtype in _FLOATS
        and head.bias.dtype.base_dtype == head.weights.dtype.base_dtype
        and head.hidden_states.shape.rank == 3
        and _dims(head.weights) == [2, *hidden_size]
        and _dims(head.bias) == [2]
        and _dims(flat.outputs[0])[1:] == hidden_size
        and _dims(by_token.outputs[0])[2:] == [2]
    )
    return head if fits else None


def _made_by(kind: str, tensor: Any, attributes: dict[str, Any]) -> Any | None:
    """The operation behind a tensor, if it is of that kind and has these attributes."""
    operation = tensor.op if isinstance(tensor, tf.Tensor) else None
    if operation is None or operation.type != kind or any(operation.get_attr(n) != v for n, v in attributes.items()):
        return None
    return operation


def _dims(tensor: Any) -> list[int | None]:
    """None for a dimension that is not known, nothing if not even their number is."""
    return tensor.shape.as_list() if tensor.shape.rank is not None else []


def _is_constant(tensor: Any, value: list[int]) -> bool:
    found = tf.get_static_value(tensor)
    return found is not None and found.tolist() == value


def _before_cast(tensor: Any) -> Any:
    """The 16-bit tensor that float32's is a cast of: the op computes in float32 anyway."""
    while tensor.op.type == "Cast" and tensor.dtype == tf.float32 and tensor.op.inputs[0].dtype.base_dtype in _FLOATS[1:]:
        tensor = tensor.op.inputs[0]
    return tensor
