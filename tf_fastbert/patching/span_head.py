"""The head of Google's run_squad as one op.

Its create_model makes nine operations behind the encoder, each of which costs TensorFlow's executor more time than a GPU needs for all
of them. Where the logits that it returned come from just these operations, they are computed by FastBertSpanLogits instead, from
the same tensors, so TensorFlow prunes Google's from runs that do not fetch them. Any other head, such as one with a layer more, is
left as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from tf_fastbert import ops

_FLOATS = (tf.float32, tf.float16, tf.bfloat16)


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
    """What the logits are made of, from their end: unstack(transpose(reshape(reshape(hidden) x weights' + bias)))."""
    unstack = _made_by("Unpack", start_logits, axis=0, num=2)
    transpose = _made_by("Transpose", _input(unstack))
    by_token = _made_by("Reshape", _input(transpose))
    bias_add = _made_by("BiasAdd", _input(by_token), data_format=b"NHWC")
    matmul = _made_by("MatMul", _input(bias_add), transpose_a=False, transpose_b=True)
    flat = _made_by("Reshape", _input(matmul))
    if unstack is None or transpose is None or by_token is None or bias_add is None or matmul is None or flat is None:
        return None
    head = _Head(*map(_before_cast, (flat.inputs[0], matmul.inputs[1], bias_add.inputs[1])))
    hidden_size = head.hidden_states.shape[2:].as_list() if head.hidden_states.shape.rank == 3 else []
    fits = (
        list(unstack.outputs) == [start_logits, end_logits]
        and _is_constant(transpose.inputs[1], [2, 0, 1])
        and head.hidden_states.dtype in _FLOATS
        and head.weights.dtype.base_dtype in _FLOATS
        and head.bias.dtype.base_dtype == head.weights.dtype.base_dtype
        and head.weights.shape.as_list() == [2, *hidden_size]
        and head.bias.shape.as_list() == [2]
        and flat.outputs[0].shape.as_list()[1:] == hidden_size
        and by_token.outputs[0].shape.as_list()[2:] == [2]
    )
    return head if fits else None


def _made_by(kind: str, tensor: Any, **attributes: Any) -> Any | None:
    """The operation behind a tensor, if it is of that kind and has these attributes."""
    operation = tensor.op if isinstance(tensor, tf.Tensor) else None
    if operation is None or operation.type != kind or any(operation.get_attr(n) != v for n, v in attributes.items()):
        return None
    return operation


def _input(operation: Any | None) -> Any | None:
    return None if operation is None else operation.inputs[0]


def _is_constant(tensor: Any, value: list[int]) -> bool:
    found = tf.get_static_value(tensor)
    return found is not None and found.tolist() == value


def _before_cast(tensor: Any) -> Any:
    """The 16-bit tensor that float32's is a cast of: the op computes in float32 anyway."""
    while tensor.op.type == "Cast" and tensor.dtype == tf.float32 and tensor.op.inputs[0].dtype.base_dtype in _FLOATS[1:]:
        tensor = tensor.op.inputs[0]
    return tensor
