"""The op library: loading it, and one documented function per op.

The library is loaded once, on first use. It is looked for in this order: the file named by the environment variable
TF_FASTBERT_LIBRARY, libtf_fastbert.so beside this file (an installed package), bazel-bin/libtf_fastbert.so (a source tree).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import sys
import threading
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_fastbert import gemm_tables, op_inputs
from tf_fastbert.op_inputs import LayerWeights, full_length, weight_shapes  # noqa: F401 (the last two: for others)

_PACKAGE = pathlib.Path(__file__).resolve().parent
_LIBRARY_NAME = "libtf_fastbert.so"
_BUILD_INFO_MARKER = b"tf_fastbert_build_info={"
_ONEDNN = "libdnnl.so.3"
_OPENMP = "libgomp.so.1"

CHOICES = {
    "activation": ("gelu_tanh", "gelu_erf", "relu"),
    "layer_norm": ("post", "pre"),
    "precision": ("default", "tf32", "float32"),
    "quantization": ("int8_mode1", "int8_mode2", "fp8"),
}

_lock = threading.Lock()
_module: Any = None


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


def _preload_openmp() -> None:
    """Loads libgomp.so.1, which oneDNN needs: the system's, else the wheel's. The loader then finds it by its name."""
    for name in (_OPENMP, str(_PACKAGE / _OPENMP)):
        with contextlib.suppress(OSError):
            ctypes.CDLL(name, mode=ctypes.RTLD_LOCAL)
            return


def build_info() -> dict[str, Any]:
    """What the library was built for: {"version", "tensorflow", "cuda": bool, "cuda_archs", "onednn"}."""
    return read_build_info(library_path())


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def onednn_path() -> pathlib.Path | None:
    """Where pip has put libdnnl.so.3, which the op library needs; None: it is not there, and the loader has to find it."""
    for folder in (library_path().parent, _PACKAGE, pathlib.Path(sys.prefix) / "lib"):
        if (folder / _ONEDNN).is_file():
            return folder / _ONEDNN
    return None


def _preload_onednn() -> str | None:
    """Loads libdnnl.so.3. Returns why that failed, or None."""
    name = str(onednn_path() or _ONEDNN)  # the name alone: the loader's own search, LD_LIBRARY_PATH, the system's libraries
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
            f"with one minor version only: install the wheel for TensorFlow {_minor(tf.__version__)}, run `make build` (or `pip "
            f"install .`) again with this TensorFlow installed, or install TensorFlow {_minor(info['tensorflow'])}."
        )
    onednn_problem = _preload_onednn()
    try:
        module = tf.load_op_library(str(path))
    except tf.errors.NotFoundError as error:
        if _OPENMP in f"{onednn_problem} {error}":
            raise ImportError(
                f"{path} needs the OpenMP runtime of gcc ({_OPENMP}), which was not found: install it (libgomp1 on Debian and "
                "Ubuntu, libgomp on Fedora and RHEL)."
            ) from error
        if onednn_problem and "libdnnl" in str(error):
            raise ImportError(
                f"{path} needs oneDNN ({_ONEDNN}), which was not found ({onednn_problem}): pip install "
                "onednn-cpu-gomp==2023.2.0, or put its folder into LD_LIBRARY_PATH."
            ) from error
        raise ImportError(f"{path} cannot be loaded: {error.message}. Build it again with `make build`.") from error
    if info["cuda"]:
        gemm_tables.load(path)
    return module


def load_library() -> Any:
    """Loads the op library if it is not loaded yet, and returns the module of its raw ops. Thread-safe.

    Call it before loading a SavedModel or importing a graph that contains the op.

    Raises:
      ImportError: the library is missing, was built for another version of TensorFlow, or lacks something it needs.
    """
    global _module
    with _lock:
        if _module is None:
            _preload_openmp()
            _module = _load()
        return _module


# ----------------------------------------------------------------------------------------------------
# FastBertEncoder and FastBertQuantizedEncoder
# ----------------------------------------------------------------------------------------------------


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
      precision: of float32 matrix products on a GPU. "float32": in full; "tf32": their inputs may be rounded to TF32; "default": as
        TensorFlow's own, which is TF32 unless tf.config.experimental.enable_tensor_float_32_execution(False) was called.
      name: the op's name.

    Returns:
      hidden_states' dtype, [B, S, H], or [len(layers), B, S, H] if all_layers. Rows of padding are zero.

    Raises:
      TypeError, ValueError: an argument has a wrong dtype, shape or value; the message names it.
      ImportError: see load_library.
      tf.errors.InvalidArgumentError: when run, if a length is negative or above S, or a shape that was unknown before is wrong.
    """
    attributes = dict(
        num_heads=num_heads, size_per_head=size_per_head, epsilon=epsilon, activation=activation, layer_norm=layer_norm,
        remove_padding=remove_padding, all_layers=all_layers, precision=precision,
    )  # fmt: skip
    return _encode("fast_bert_encoder", hidden_states, sequence_length, layers, attributes, name or "FastBertEncoder")


def fast_bert_quantized_encoder(
    hidden_states: Any,
    sequence_length: Any,
    layers: Sequence[LayerWeights],
    amax_lists: Sequence[Any],
    *,
    quantization: str,
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
    """BERT's encoder with matrix products in 8 bit: fast_bert_encoder with quantized layers. For inference; has no gradient.

    H = num_heads * size_per_head, I = the inner size.

    Args:
      layers: as for fast_bert_encoder, but the six kernels are int8 in the int8 modes: w * 127 / amax, rounded, amax by output
        channel (mode 1) or by tensor (mode 2). For fp8 all are of hidden_states' dtype.
      amax_lists: for each layer its quantizers' ranges, float32 [72 + 5 H + I + 8 + 3 + 21]: `amaxList` of the checkpoints that
        tools/ckpt_quantization.py writes (tf_fastbert.quantization.amax_list knows what is where). All finite and above 0. The op
        reads them on the host: on a GPU, create variables for them under tf.device("/CPU:0").
      quantization: "int8_mode1" (kernels quantized by output channel, the rest in hidden_states' dtype), "int8_mode2" (by tensor;
        activations between the layers may be int8 too) or "fp8" (E4M3).
      The rest: see fast_bert_encoder.

    Returns:
      As fast_bert_encoder.

    Raises:
      TypeError, ValueError: an argument has a wrong dtype, shape or value; the message names it.
      ImportError: see load_library.
      tf.errors.InvalidArgumentError: when run, if a range or a length is out of bounds, or a shape that was unknown is wrong.
      tf.errors.UnimplementedError: when run, if the device cannot do `quantization`.
    """
    attributes = dict(
        num_heads=num_heads, size_per_head=size_per_head, epsilon=epsilon, activation=activation, layer_norm=layer_norm,
        remove_padding=remove_padding, all_layers=all_layers, precision=precision, quantization=quantization,
    )  # fmt: skip
    return _encode(
        "fast_bert_quantized_encoder", hidden_states, sequence_length, layers, attributes, name or "FastBertQuantizedEncoder",
        amax_lists,
    )  # fmt: skip


def _encode(
    function: str,
    hidden_states: Any,
    sequence_length: Any,
    layers: Sequence[LayerWeights],
    attributes: dict[str, Any],
    name: str,
    amax_lists: Sequence[Any] | None = None,
) -> tf.Tensor:
    """Checks and converts the arguments of the encoder `function`, and makes its op."""
    module = load_library()
    op_inputs.check_options(
        function,
        len(layers),
        attributes["num_heads"],
        attributes["size_per_head"],
        **{argument: (attributes[argument], allowed) for argument, allowed in CHOICES.items() if argument in attributes},
    )
    with tf.name_scope(name) as scope:
        hidden_states = op_inputs.convert_hidden_states(
            function, hidden_states, attributes["num_heads"], attributes["size_per_head"]
        )
        hidden_size = attributes["num_heads"] * attributes["size_per_head"]
        columns, immutable = op_inputs.convert_weights(
            function, layers, hidden_states.dtype.base_dtype, hidden_size, attributes.get("quantization")
        )
        if amax_lists is not None:
            ranges, immutable_ranges = op_inputs.convert_amax_lists(function, amax_lists, len(layers))
            columns.append(ranges)
            immutable = immutable and immutable_ranges
        return getattr(module, function)(
            hidden_states,
            op_inputs.convert_sequence_length(function, sequence_length, hidden_states.shape),
            *columns,
            **attributes,
            weights="immutable" if immutable else "checked",
            name=scope,
        )


# ----------------------------------------------------------------------------------------------------
# FastBertEmbedding
# ----------------------------------------------------------------------------------------------------


def fast_bert_embedding(
    input_ids: Any,
    token_type_ids: Any,
    word_embeddings: Any,
    position_embeddings: Any,
    token_type_embeddings: Any,
    gamma: Any,
    beta: Any,
    *,
    sequence_length: Any = None,
    epsilon: float = 1e-12,
    name: str | None = None,
) -> tf.Tensor:
    """BERT's embedding layer in one op: LayerNorm(word + token type + position), for inference; has no gradient.

    B = batch, S = seq_len, H = hidden size. Sums and statistics are float32 in every type.

    Args:
      input_ids: int32 [B, S], rows of word_embeddings. On a CPU others are an error, on a GPU they count as a row of zeros (both
        as with tf.gather).
      token_type_ids: int32 [B, S], rows of token_type_embeddings; others count as a row of zeros (as with tf.one_hot).
      word_embeddings: float32, float16 or bfloat16 [V, H].
      position_embeddings: [P, H] of the same type, P >= S.
      token_type_embeddings: [Y, H].
      gamma, beta: [H].
      sequence_length: int32 [B], how many tokens of each sequence are valid, or int32 [B, S], a mask, nonzero = valid, holes
        allowed. int64 and bool are cast. None: all are valid.
      epsilon: added to the variance in LayerNorm.
      name: the op's name.

    Returns:
      [B, S, H] of the tables' type. Rows of padding are zero.

    Raises:
      TypeError, ValueError: an argument has a wrong dtype or shape; the message names it.
      ImportError: see load_library.
      tf.errors.InvalidArgumentError: when run, if an id or a length is out of range, or a shape that was unknown before is wrong.
    """
    function = "fast_bert_embedding"
    module = load_library()
    with tf.name_scope(name or "FastBertEmbedding") as scope:
        ids = op_inputs.convert_ids(function, "input_ids", input_ids)
        token_types = op_inputs.convert_ids(function, "token_type_ids", token_type_ids)
        weights = op_inputs.convert_floats(
            function,
            word_embeddings=word_embeddings,
            position_embeddings=position_embeddings,
            token_type_embeddings=token_type_embeddings,
            gamma=gamma,
            beta=beta,
        )
        lengths = (
            []
            if sequence_length is None
            else [op_inputs.convert_sequence_length(function, sequence_length, ids.shape, like="input_ids")]
        )
        return module.fast_bert_embedding(ids, token_types, *weights, lengths, epsilon=epsilon, name=scope)


def fast_bert_span_logits(
    hidden_states: Any,
    weights: Any,
    bias: Any,
    sequence_length: Any,
    *,
    padding: float = -10000.0,
    name: str | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The head of a question-answering BERT in one op, for inference; has no gradient.

    start_logits[b, s] = hidden_states[b, s] . weights[0] + bias[0], end_logits[b, s] the same with weights[1] and bias[1], in
    float32 for every type. B = batch, S = seq_len, H = hidden size.

    Args:
      hidden_states: float32, float16 or bfloat16 [B, S, H].
      weights: float32, float16 or bfloat16 [2, H]: Google's cls/squad/output_weights.
      bias: [2] of the type of `weights`: cls/squad/output_bias.
      sequence_length: int32 [B], how many tokens of each sequence are valid, or int32 [B, S], a mask, nonzero = valid, holes
        allowed. int64 and bool are cast.
      padding: the logits of tokens that are not valid, whose hidden states are not read.
      name: the op's name.

    Returns:
      start_logits, end_logits: float32 [B, S].

    Raises:
      TypeError, ValueError: an argument has a wrong dtype or shape; the message names it.
      ImportError: see load_library.
      tf.errors.InvalidArgumentError: when run, if a length is out of range, or a shape that was unknown before is wrong.
    """
    function = "fast_bert_span_logits"
    module = load_library()
    with tf.name_scope(name or "FastBertSpanLogits") as scope:
        (hidden,) = op_inputs.convert_floats(function, hidden_states=hidden_states)
        head = op_inputs.convert_floats(function, weights=weights, bias=bias)
        lengths = op_inputs.convert_sequence_length(function, sequence_length, hidden.shape)
        return tuple(module.fast_bert_span_logits(hidden, *head, lengths, padding=padding, name=scope))


@tf.RegisterGradient("FastBertEmbedding")
@tf.RegisterGradient("FastBertEncoder")
@tf.RegisterGradient("FastBertQuantizedEncoder")
@tf.RegisterGradient("FastBertSpanLogits")
def _no_gradient(op: tf.Operation, *grads: tf.Tensor) -> None:
    """Says what to do instead, where TensorFlow would only say that there is no gradient."""
    name = op.name if hasattr(op, "name") else "eager"
    kind = getattr(op, "type", "FastBertEncoder")
    raise NotImplementedError(
        f"{kind} ({name}) is for inference and has no gradient. Training uses the stock encoder: build the training "
        "graph without tf_fastbert.patch (the patch itself leaves training graphs alone), or put tf.stop_gradient behind the op "
        "if nothing below it is to be trained."
    )
