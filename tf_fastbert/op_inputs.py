"""What the ops' functions are given: the weights' structure, and checks and conversions of the arguments.

Every function here takes the name of the function that the user called, which its error messages start with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

DTYPES = (tf.float32, tf.float16, tf.bfloat16)
# Ops that hand on their (first) input's buffer: Reshape makes a tensor of another shape on it.
_FORWARDING = frozenset({"Identity", "Reshape", "StopGradient"})
# Ops whose output's buffer nobody writes to while the kernel holds a reference to it; see cc/weight_cache.h.
_IMMUTABLE = frozenset({"Const", "ReadVariableOp"})


class LayerWeights(NamedTuple):
    """One layer's weights: tensors, variables or arrays of one dtype, in the shapes of Google's checkpoints.

    H = hidden size, I = inner size. Kernels have the input dimension first.
    """

    query_kernel: Any  # [H, H]
    query_bias: Any  # [H]
    key_kernel: Any  # [H, H]
    key_bias: Any  # [H]
    value_kernel: Any  # [H, H]
    value_bias: Any  # [H]
    attention_output_kernel: Any  # [H, H]
    attention_output_bias: Any  # [H]
    attention_layer_norm_gamma: Any  # [H]
    attention_layer_norm_beta: Any  # [H]
    intermediate_kernel: Any  # [H, I]
    intermediate_bias: Any  # [I]
    output_kernel: Any  # [I, H]
    output_bias: Any  # [H]
    output_layer_norm_gamma: Any  # [H]
    output_layer_norm_beta: Any  # [H]


def weight_shapes(hidden_size: int, inner_size: int | None) -> LayerWeights:
    """The shape of each weight of a layer, as tuples of int, or of None for an inner size that is not known."""
    square, vector = (hidden_size, hidden_size), (hidden_size,)
    return LayerWeights(
        query_kernel=square, query_bias=vector, key_kernel=square, key_bias=vector, value_kernel=square, value_bias=vector,
        attention_output_kernel=square, attention_output_bias=vector,
        attention_layer_norm_gamma=vector, attention_layer_norm_beta=vector,
        intermediate_kernel=(hidden_size, inner_size), intermediate_bias=(inner_size,),
        output_kernel=(inner_size, hidden_size), output_bias=vector,
        output_layer_norm_gamma=vector, output_layer_norm_beta=vector,
    )  # fmt: skip


def _is_resource_variable(value: Any) -> bool:
    """True if converting `value` to a tensor reads a resource variable as it is."""
    # The exact types: subclasses may cast or gather (Keras' AutoCastVariable, distributed variables).
    return isinstance(value, tf.Variable) and type(value).__name__ in ("ResourceVariable", "UninitializedVariable")


def _is_immutable(value: Any, tensor: tf.Tensor) -> bool:
    """Whether the buffer of `tensor`, converted from `value`, is one that nobody overwrites. False where that cannot be seen."""
    if tf.executing_eagerly():
        return _is_resource_variable(value)
    while True:
        if tensor.op.type in _FORWARDING:
            tensor = tensor.op.inputs[0]
        elif tensor.op.type == "Placeholder":
            # What the body of a loop or of a branch takes from outside is the same tensor in each turn.
            outside = _captured(tensor)
            if outside is None:
                return False
            tensor = outside
        else:
            return tensor.op.type in _IMMUTABLE


def _captured(placeholder: tf.Tensor) -> tf.Tensor | None:
    """The tensor of an outer graph that a tf.function's graph has taken in as `placeholder`; None if there is none."""
    for outside, inside in getattr(placeholder.graph, "captures", ()):
        if inside is placeholder:
            return outside if hasattr(outside, "op") and not hasattr(outside, "numpy") else None
    return None


def _unwrap(value: Any) -> Any:
    """A Keras 3 variable's tf.Variable; anything else as it is."""
    if not isinstance(value, (tf.Variable, tf.Tensor)) and isinstance(getattr(value, "value", None), tf.Variable):
        return value.value
    return value


def text(shape: tf.TensorShape) -> str:
    """A shape as in error messages: [2, None, 64]."""
    return str(shape.as_list()) if shape.rank is not None else "unknown"


def check_options(
    function: str,
    num_layers: int,
    num_heads: int,
    size_per_head: int,
    **choices: tuple[str, tuple[str, ...]],
) -> None:
    """Checks the options of an encoder; `choices` maps an argument to its value and to what it may be.

    Raises:
      ValueError: one of them is wrong.
    """
    for argument, (value, allowed) in choices.items():
        if value not in allowed:
            raise ValueError(f"{function}: {argument} is {value!r}, expected one of {', '.join(map(repr, allowed))}.")
    if not num_layers:
        raise ValueError(f"{function}: layers is empty.")
    if num_heads < 1:
        raise ValueError(f"{function}: num_heads is {num_heads}, expected 1 or more.")
    if size_per_head < 2 or size_per_head > 128 or size_per_head % 2:
        raise ValueError(f"{function}: size_per_head is {size_per_head}, expected an even number of at most 128.")


def convert_hidden_states(function: str, hidden_states: Any, num_heads: int, size_per_head: int) -> tf.Tensor:
    """hidden_states as a tensor of the form [batch, seq_len, num_heads * size_per_head] of a type that the ops take.

    Raises:
      TypeError, ValueError: it is none.
    """
    tensor = tf.convert_to_tensor(hidden_states, name="hidden_states")
    if tensor.dtype.base_dtype not in DTYPES:
        raise TypeError(f"{function}: hidden_states is {tensor.dtype.base_dtype.name}, expected float32, float16 or bfloat16.")
    if not tensor.shape.is_compatible_with([None, None, num_heads * size_per_head]):
        raise ValueError(
            f"{function}: hidden_states has shape {text(tensor.shape)}, expected [batch, seq_len, "
            f"{num_heads * size_per_head}] with num_heads = {num_heads} and size_per_head = {size_per_head}."
        )
    return tensor


def convert_tensor(name: str, value: Any, dtype: tf.DType, why: str, tensor_name: str) -> tuple[tf.Tensor, bool]:
    """`value` as a tensor of `dtype`, and whether it is immutable. `why` says where the type comes from.

    Raises:
      TypeError: it has another type.
    """
    value = _unwrap(value)
    found = getattr(value, "dtype", None)
    if found is not None and tf.as_dtype(found).base_dtype != dtype:
        raise TypeError(f"{name} is {tf.as_dtype(found).base_dtype.name}, but {why}.")
    tensor = tf.convert_to_tensor(value, dtype=dtype, name=tensor_name)
    return tensor, _is_immutable(value, tensor)


def convert_weights(
    function: str, layers: Sequence[LayerWeights], dtype: tf.DType, hidden_size: int, quantization: str | None = None
) -> tuple[list[list[tf.Tensor]], bool]:
    """Returns for each field the list of its tensors over the layers, and whether all of them are immutable.

    All are of `dtype`, but int8 for the kernels of the int8 modes of `quantization`.

    Raises:
      TypeError, ValueError: a weight has another type or shape.
    """
    columns: list[list[tf.Tensor]] = [[] for _ in LayerWeights._fields]
    all_immutable = True
    inner_size: int | None = None
    for index, layer in enumerate(layers):
        if not isinstance(layer, LayerWeights):
            raise TypeError(f"{function}: layers[{index}] is a {type(layer).__name__}, expected LayerWeights.")
        for column, field, value in zip(columns, LayerWeights._fields, layer):
            name = f"{function}: layer {index}'s {field}"
            if quantization is not None and quantization.startswith("int8") and field.endswith("_kernel"):
                expected_dtype, why = tf.int8, f"{quantization} takes int8 kernels"
            else:
                expected_dtype, why = dtype, f"hidden_states is {dtype.name}. All must agree"
            tensor, immutable = convert_tensor(name, value, expected_dtype, why, f"{field}_{index}")
            if field == "intermediate_kernel" and inner_size is None and tensor.shape.rank == 2:
                inner_size = tensor.shape[1]
            expected = tf.TensorShape(getattr(weight_shapes(hidden_size, inner_size), field))
            if not tensor.shape.is_compatible_with(expected):
                raise ValueError(f"{name} has shape {text(tensor.shape)}, expected {text(expected)}.")
            all_immutable = all_immutable and immutable
            column.append(tensor)
    return columns, all_immutable


def convert_amax_lists(function: str, amax_lists: Sequence[Any], num_layers: int) -> tuple[list[tf.Tensor], bool]:
    """The ranges of all layers as tensors, and whether all of them are immutable. Their length is checked by the op.

    Raises:
      TypeError, ValueError: there are not as many as layers, or one is no float32 vector.
    """
    if len(amax_lists) != num_layers:
        raise ValueError(f"{function}: amax_lists has {len(amax_lists)} entries, expected one for each of {num_layers} layers.")
    tensors, all_immutable = [], True
    for index, value in enumerate(amax_lists):
        name = f"{function}: amax_lists[{index}]"
        # The op reads them on the host.
        with tf.device("/CPU:0"):
            tensor, immutable = convert_tensor(name, value, tf.float32, "expected float32", f"amax_list_{index}")
        if tensor.shape.rank not in (None, 1):
            raise ValueError(f"{name} has shape {text(tensor.shape)}, expected a vector.")
        all_immutable = all_immutable and immutable
        tensors.append(tensor)
    return tensors, all_immutable


def _as_int32(tensor: tf.Tensor) -> tf.Tensor:
    """Cast on the host, where the ops read it: from a GPU it would have to be fetched back."""
    if tensor.dtype.base_dtype == tf.int32:
        return tensor
    with tf.device("CPU:0"):
        return tf.cast(tensor, tf.int32)


def convert_ids(function: str, argument: str, ids: Any) -> tf.Tensor:
    """Ids as int32 [batch, seq_len].

    Raises:
      TypeError, ValueError: a wrong type or rank.
    """
    tensor = tf.convert_to_tensor(ids, name=argument)
    if tensor.dtype.base_dtype not in (tf.int32, tf.int64):
        raise TypeError(f"{function}: {argument} is {tensor.dtype.base_dtype.name}, expected int32.")
    if tensor.shape.rank not in (None, 2):
        raise ValueError(f"{function}: {argument} has shape {text(tensor.shape)}, expected [batch, seq_len].")
    return _as_int32(tensor)


def convert_floats(function: str, **weights: Any) -> list[tf.Tensor]:
    """The arguments as tensors, all of the first one's type.

    Raises:
      TypeError: one has another type, or none that the ops take.
    """
    tensors: list[tf.Tensor] = []
    for argument, value in weights.items():
        tensor = tf.convert_to_tensor(_unwrap(value), name=argument)
        found = tensor.dtype.base_dtype
        if found not in DTYPES:
            raise TypeError(f"{function}: {argument} is {found.name}, expected float32, float16 or bfloat16.")
        if tensors and found != tensors[0].dtype.base_dtype:
            first = next(iter(weights))
            raise TypeError(
                f"{function}: {argument} is {found.name}, but {first} is {tensors[0].dtype.base_dtype.name}. All must agree."
            )
        tensors.append(tensor)
    return tensors


def convert_sequence_length(
    function: str, sequence_length: Any, padded_shape: tf.TensorShape, like: str = "hidden_states"
) -> tf.Tensor:
    """Lengths or a mask as int32, checked against the shape [batch, seq_len, ...] of the argument `like`.

    Raises:
      TypeError, ValueError: a wrong type or shape.
    """
    tensor = tf.convert_to_tensor(sequence_length, name="sequence_length")
    if tensor.dtype.base_dtype not in (tf.int32, tf.int64, tf.bool):
        raise TypeError(
            f"{function}: sequence_length is {tensor.dtype.base_dtype.name}, expected int32 (lengths [batch] or a mask "
            "[batch, seq_len])."
        )
    if tensor.shape.rank is not None:
        known = padded_shape if padded_shape.rank is not None else tf.TensorShape([None, None, None])
        if tensor.shape.rank not in (1, 2) or not tensor.shape.is_compatible_with(known[: tensor.shape.rank]):
            raise ValueError(
                f"{function}: sequence_length has shape {text(tensor.shape)}, expected [batch] (lengths) or [batch, "
                f"seq_len] (a mask) with {like} {text(padded_shape)}."
            )
    return _as_int32(tensor)


def full_length(hidden_states: Any) -> tf.Tensor:
    """The sequence_length, int32 [B], that says every token of hidden_states [B, S, H] is valid."""
    shape = tf.shape(hidden_states)
    return tf.fill(shape[:1], shape[1])
