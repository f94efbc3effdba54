"""The op library: loading it, and one documented function per op.

The library is loaded once, on first use. It is looked for in this order: the file named by the environment variable
TF_FASTBERT_LIBRARY, libtf_fastbert.so beside this file (an installed package), bazel-bin/libtf_fastbert.so (a source tree).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import pathlib
import sys
import threading
from typing import Any, NamedTuple, Sequence

import tensorflow as tf

_PACKAGE = pathlib.Path(__file__).resolve().parent
_LIBRARY_NAME = "libtf_fastbert.so"
_BUILD_INFO_MARKER = b"tf_fastbert_build_info={"
_ONEDNN = "libdnnl.so.3"

_lock = threading.Lock()
_module: Any = None


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


# ----------------------------------------------------------------------------------------------------
# The library
# ----------------------------------------------------------------------------------------------------


def library_path() -> pathlib.Path:
    """Where the op library is.

    Raises:
      ImportError: it is nowhere; the message says how to build it.
    """
    named = os.environ.get("TF_FASTBERT_LIBRARY")
    if named:
        if not os.path.isfile(named):
            raise ImportError(f"TF_FASTBERT_LIBRARY names {named}, which does not exist.")
        return pathlib.Path(named)
    places = [_PACKAGE / _LIBRARY_NAME, _PACKAGE.parent / "bazel-bin" / _LIBRARY_NAME]
    for place in places:
        if place.is_file():
            return place
    raise ImportError(
        f"{_LIBRARY_NAME} was not found ({' or '.join(map(str, places))}): run `make build` in the source tree, install the "
        "package again with `pip install .`, or set TF_FASTBERT_LIBRARY to the file."
    )


def read_build_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the library at `path` says it was built for, read from the file, without loading it.

    Raises:
      ImportError: the file is not a library of this project.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(_BUILD_INFO_MARKER)
            if at >= 0:
                at += len(_BUILD_INFO_MARKER) - 1
                return json.loads(data[at : data.find(b"\0", at)])
    except (OSError, ValueError) as error:
        raise ImportError(f"{path} cannot be read as an op library of tf_fastbert: {error}") from error
    raise ImportError(f"{path} is not an op library of tf_fastbert. Build it again with `make build`.")


def build_info() -> dict[str, Any]:
    """What the library was built for: {"version", "tensorflow", "cuda": bool, "cuda_archs", "onednn"}."""
    return read_build_info(library_path())


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _preload_onednn(library: pathlib.Path) -> str | None:
    """Loads libdnnl.so.3, which the op library needs, from where pip puts it. Returns why that failed, or None."""
    for folder in (library.parent, _PACKAGE, pathlib.Path(sys.prefix) / "lib"):
        if (folder / _ONEDNN).is_file():
            name = str(folder / _ONEDNN)
            break
    else:
        name = _ONEDNN  # the loader's own search: LD_LIBRARY_PATH, the system's libraries
    try:
        # The loader then finds it by its name. No symbol of it becomes visible to others.
        ctypes.CDLL(name, mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        return str(error)
    return None


def _load() -> Any:
    path = library_path()
    info = read_build_info(path)
    if _minor(info["tensorflow"]) != _minor(tf.__version__):
        raise ImportError(
            f"{path} was built for TensorFlow {info['tensorflow']}, but this is TensorFlow {tf.__version__}. A custom op works "
            "with one minor version only: run `make build` (or `pip install .`) again with this TensorFlow installed, or install "
            f"TensorFlow {_minor(info['tensorflow'])}."
        )
    onednn_problem = _preload_onednn(path)
    try:
        return tf.load_op_library(str(path))
    except tf.errors.NotFoundError as error:
        if onednn_problem and "libdnnl" in str(error):
            raise ImportError(
                f"{path} needs oneDNN ({_ONEDNN}), which was not found ({onednn_problem}): pip install "
                "onednn-cpu-gomp==2023.2.0, or put its folder into LD_LIBRARY_PATH."
            ) from error
        raise ImportError(f"{path} cannot be loaded: {error.message}. Build it again with `make build`.") from error


def load_library() -> Any:
    """Loads the op library if it is not loaded yet, and returns the module of its raw ops. Thread-safe.

    Call it before loading a SavedModel or importing a graph that contains the op.

    Raises:
      ImportError: the library is missing, was built for another version of TensorFlow, or lacks something it needs.
    """
    global _module
    with _lock:
        if _module is None:
            _module = _load()
        return _module


# ----------------------------------------------------------------------------------------------------
# FastBertEncoder
# ----------------------------------------------------------------------------------------------------

_DTYPES = (tf.float32, tf.float16, tf.bfloat16)
# Ops that hand on their input's buffer.
_FORWARDING = frozenset({"Identity", "StopGradient"})
# Ops whose output's buffer nobody writes to while the kernel holds a reference to it; see cc/weight_cache.h.
_IMMUTABLE = frozenset({"Const", "ReadVariableOp"})


def _is_resource_variable(value: Any) -> bool:
    """True if converting `value` to a tensor reads a resource variable as it is."""
    # The exact types: subclasses may cast or gather (Keras' AutoCastVariable, distributed variables).
    return isinstance(value, tf.Variable) and type(value).__name__ in ("ResourceVariable", "UninitializedVariable")


def _is_immutable(value: Any, tensor: tf.Tensor) -> bool:
    """Whether the buffer of `tensor`, converted from `value`, is one that nobody overwrites. False where that cannot be seen."""
    if tf.executing_eagerly():
        return _is_resource_variable(value)
    op = tensor.op
    while op.type in _FORWARDING:
        op = op.inputs[0].op
    return op.type in _IMMUTABLE


def _unwrap(value: Any) -> Any:
    """A Keras 3 variable's tf.Variable; anything else as it is."""
    if not isinstance(value, (tf.Variable, tf.Tensor)) and isinstance(getattr(value, "value", None), tf.Variable):
        return value.value
    return value


def _text(shape: tf.TensorShape) -> str:
    """A shape as in error messages: [2, None, 64]."""
    return str(shape.as_list()) if shape.rank is not None else "unknown"


def _convert_weights(layers: Sequence[LayerWeights], dtype: tf.DType, hidden_size: int) -> tuple[list[list[tf.Tensor]], bool]:
    """Returns for each field the list of its tensors over the layers, and whether all of them are immutable."""
    columns: list[list[tf.Tensor]] = [[] for _ in LayerWeights._fields]
    immutable = True
    inner_size: int | None = None
    for index, layer in enumerate(layers):
        if not isinstance(layer, LayerWeights):
            raise TypeError(f"fast_bert_encoder: layers[{index}] is a {type(layer).__name__}, expected LayerWeights.")
        for column, field, value in zip(columns, LayerWeights._fields, layer):
            name = f"fast_bert_encoder: layer {index}'s {field}"
            value = _unwrap(value)
            found_dtype = getattr(value, "dtype", None)
            if found_dtype is not None and tf.as_dtype(found_dtype).base_dtype != dtype:
                raise TypeError(
                    f"{name} is {tf.as_dtype(found_dtype).base_dtype.name}, but hidden_states is {dtype.name}. All must agree."
                )
            tensor = tf.convert_to_tensor(value, dtype=dtype, name=f"{field}_{index}")
            if field == "intermediate_kernel" and inner_size is None and tensor.shape.rank == 2:
                inner_size = tensor.shape[1]
            expected = tf.TensorShape(getattr(weight_shapes(hidden_size, inner_size), field))
            if not tensor.shape.is_compatible_with(expected):
                raise ValueError(f"{name} has shape {_text(tensor.shape)}, expected {_text(expected)}.")
            immutable = immutable and _is_immutable(value, tensor)
            column.append(tensor)
    return columns, immutable


def _convert_sequence_length(sequence_length: Any, hidden_shape: tf.TensorShape) -> tf.Tensor:
    tensor = tf.convert_to_tensor(sequence_length, name="sequence_length")
    if tensor.dtype.base_dtype not in (tf.int32, tf.int64, tf.bool):
        raise TypeError(
            f"fast_bert_encoder: sequence_length is {tensor.dtype.base_dtype.name}, expected int32 (lengths [batch] or a mask "
            "[batch, seq_len])."
        )
    if tensor.shape.rank is not None:
        if tensor.shape.rank not in (1, 2) or not tensor.shape.is_compatible_with(hidden_shape[: tensor.shape.rank]):
            raise ValueError(
                f"fast_bert_encoder: sequence_length has shape {_text(tensor.shape)}, expected [batch] (lengths) or [batch, "
                f"seq_len] (a mask) with hidden_states {_text(hidden_shape)}."
            )
    return tensor if tensor.dtype.base_dtype == tf.int32 else tf.cast(tensor, tf.int32)


def full_length(hidden_states: Any) -> tf.Tensor:
    """The sequence_length, int32 [B], that says every token of hidden_states [B, S, H] is valid."""
    shape = tf.shape(hidden_states)
    return tf.fill(shape[:1], shape[1])


def fast_bert_encoder(
    hidden_states: Any,
    sequence_length: Any,
    layers: Sequence[LayerWeights],
    *,
    num_heads: int,
    size_per_head: int,
    epsilon: float = 1e-12,
    activation: str = "gelu_tanh",
    layer_norm: str = "post",
    remove_padding: bool = True,
    all_layers: bool = False,
    precision: str = "default",
    name: str | None = None,
) -> tf.Tensor:
    """BERT's encoder: all layers in one op, for inference. Works in TF1 graphs, in tf.function and eagerly; has no gradient.

    B = batch, S = seq_len, H = num_heads * size_per_head.

    Args:
      hidden_states: float32, float16 or bfloat16 [B, S, H], the output of the embedding layer. Rows of padding are not read.
      sequence_length: int32 [B], how many tokens of each sequence are valid, 0 to S; or int32 [B, S], a mask, nonzero = valid,
        holes allowed. int64 and bool are cast.
      layers: the weights, first layer first. All of hidden_states' dtype. Constants and resource variables are prepared (packed)
        once; anything else, such as a TF1 ref variable, is checked for changes on each call, which costs a pass over all weights.
      num_heads: number of attention heads.
      size_per_head: even, at most 128.
      epsilon: added to the variance in LayerNorm.
      activation: "gelu_tanh" (Google's), "gelu_erf" (Hugging Face's) or "relu".
      layer_norm: "post": x = LN(x + f(x)), as in BERT. "pre": x = x + f(LN(x)), attention_layer_norm in front of attention,
        output_layer_norm in front of the feed-forward part, and no LayerNorm after the last layer.
      remove_padding: compute only the valid tokens. The result is the same with False.
      all_layers: return every layer's output.
      precision: "default", or "tf32": float32 matrix products may round their inputs to TF32.
      name: the op's name.

    Returns:
      hidden_states' dtype, [B, S, H], or [len(layers), B, S, H] if all_layers. Rows of padding are zero.

    Raises:
      TypeError, ValueError: an argument has a wrong dtype, shape or value; the message names it.
      ImportError: see load_library.
      tf.errors.InvalidArgumentError: when run, if a length is negative or above S, or a shape that was unknown before is wrong.
    """
    module = load_library()
    for argument, value, allowed in (
        ("activation", activation, ("gelu_tanh", "gelu_erf", "relu")),
        ("layer_norm", layer_norm, ("post", "pre")),
        ("precision", precision, ("default", "tf32")),
    ):
        if value not in allowed:
            raise ValueError(f"fast_bert_encoder: {argument} is {value!r}, expected one of {', '.join(map(repr, allowed))}.")
    if not layers:
        raise ValueError("fast_bert_encoder: layers is empty.")
    if num_heads < 1:
        raise ValueError(f"fast_bert_encoder: num_heads is {num_heads}, expected 1 or more.")
    if size_per_head < 2 or size_per_head > 128 or size_per_head % 2:
        raise ValueError(f"fast_bert_encoder: size_per_head is {size_per_head}, expected an even number of at most 128.")
    hidden_size = num_heads * size_per_head
    with tf.name_scope(name or "FastBertEncoder") as scope:
        hidden_states = tf.convert_to_tensor(hidden_states, name="hidden_states")
        dtype = hidden_states.dtype.base_dtype
        if dtype not in _DTYPES:
            raise TypeError(f"fast_bert_encoder: hidden_states is {dtype.name}, expected float32, float16 or bfloat16.")
        if not hidden_states.shape.is_compatible_with([None, None, hidden_size]):
            raise ValueError(
                f"fast_bert_encoder: hidden_states has shape {_text(hidden_states.shape)}, expected [batch, seq_len, "
                f"{hidden_size}] with num_heads = {num_heads} and size_per_head = {size_per_head}."
            )
        shape = hidden_states.shape if hidden_states.shape.rank is not None else tf.TensorShape([None, None, hidden_size])
        columns, immutable = _convert_weights(layers, dtype, hidden_size)
        return module.fast_bert_encoder(
            hidden_states,
            _convert_sequence_length(sequence_length, shape),
            *columns,
            num_heads=num_heads,
            size_per_head=size_per_head,
            epsilon=epsilon,
            activation=activation,
            layer_norm=layer_norm,
            remove_padding=remove_padding,
            all_layers=all_layers,
            precision=precision,
            weights="immutable" if immutable else "checked",
            name=scope,
        )


@tf.RegisterGradient("FastBertEncoder")
def _no_gradient(op: tf.Operation, *grads: tf.Tensor) -> None:
    """Says what to do instead, where TensorFlow would only say that there is no gradient."""
    name = op.name if hasattr(op, "name") else "eager"
    raise NotImplementedError(
        f"FastBertEncoder ({name}) is for inference and has no gradient. Training uses the stock encoder: build the training "
        "graph without tf_fastbert.patch (the patch itself leaves training graphs alone), or put tf.stop_gradient behind the op "
        "if nothing below it is to be trained."
    )
