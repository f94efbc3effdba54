"""The encoder's weights by Google's names, and how they are read from a checkpoint."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any, NamedTuple

import numpy as np

from tf_fastbert import ops
from tf_fastbert.checkpoint import Checkpoint
from tf_fastbert.checkpoint.cast import not_cast
from tf_fastbert.config import BertConfig
from tf_fastbert.quantization import amax_list, names

# Field of ops.LayerWeights -> variable name below <scope>/layer_<i>/ in Google's checkpoints.
GOOGLE_NAMES: dict[str, str] = {
    "query_kernel": "attention/self/query/kernel",
    "query_bias": "attention/self/query/bias",
    "key_kernel": "attention/self/key/kernel",
    "key_bias": "attention/self/key/bias",
    "value_kernel": "attention/self/value/kernel",
    "value_bias": "attention/self/value/bias",
    "attention_output_kernel": "attention/output/dense/kernel",
    "attention_output_bias": "attention/output/dense/bias",
    "attention_layer_norm_gamma": "attention/output/LayerNorm/gamma",
    "attention_layer_norm_beta": "attention/output/LayerNorm/beta",
    "intermediate_kernel": "intermediate/dense/kernel",
    "intermediate_bias": "intermediate/dense/bias",
    "output_kernel": "output/dense/kernel",
    "output_bias": "output/dense/bias",
    "output_layer_norm_gamma": "output/LayerNorm/gamma",
    "output_layer_norm_beta": "output/LayerNorm/beta",
}

# Names below the model's scope.
EMBEDDING_NAMES: dict[str, str] = {
    "word_embeddings": "embeddings/word_embeddings",
    "position_embeddings": "embeddings/position_embeddings",
    "token_type_embeddings": "embeddings/token_type_embeddings",
    "gamma": "embeddings/LayerNorm/gamma",
    "beta": "embeddings/LayerNorm/beta",
}
POOLER_NAMES: dict[str, str] = {"kernel": "pooler/dense/kernel", "bias": "pooler/dense/bias"}

FLOAT_TYPES = ("float32", "float16", "bfloat16")


def weights_from_checkpoint(
    checkpoint: str | os.PathLike,
    config: BertConfig | None = None,
    *,
    scope: str = "bert/encoder",
    dtype: Any = None,
) -> list[ops.LayerWeights]:
    """Reads the encoder's weights.

    Args:
      checkpoint: prefix or directory of a TensorFlow checkpoint in Google's format.
      config: gives the number of layers and the sizes. None: what the checkpoint has.
      scope: the variable scope of the encoder.
      dtype: "float32", "float16", "bfloat16" or the tf.DType to convert to. None: as stored.

    Returns:
      A LayerWeights of NumPy arrays for each layer.

    Raises:
      ValueError: a variable is missing (the message has names that come close), its shape is wrong, or its type is no float.
      CheckpointError: the checkpoint is missing or unreadable.
    """
    reader = Checkpoint(os.fspath(checkpoint))
    if config is None:
        num_layers, hidden_size, intermediate_size = _sizes(reader, scope)
    else:
        num_layers, hidden_size, intermediate_size = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    return _read_layers(reader, scope, num_layers, hidden_size, intermediate_size, dtype)


class Encoder(NamedTuple):
    """What a checkpoint says of the encoder. `quantization` and `amax_lists`: see ops.fast_bert_quantized_encoder, or None."""

    layers: list[ops.LayerWeights]
    quantization: str | None
    amax_lists: list[np.ndarray] | None


def encoder_from_checkpoint(
    checkpoint: str | os.PathLike,
    config: BertConfig,
    *,
    scope: str = "bert/encoder",
    dtype: Any = None,
    quantization: str | None = None,
) -> Encoder:
    """Reads a float checkpoint, or one that tools/ckpt_quantization.py wrote.

    Args:
      dtype: of what is not int8. None: as stored.
      quantization: None: what the checkpoint's kernels are, so an int8 checkpoint gives the mode it was written for and a
        checkpoint for fp8 runs in its float type. Else see ops.fast_bert_quantized_encoder.

    Raises:
      ValueError: as weights_from_checkpoint, or `quantization` does not go with the checkpoint.
      CheckpointError: the checkpoint is missing or unreadable.
    """
    reader = Checkpoint(os.fspath(checkpoint))
    sizes = (config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    kernel = reader.variables.get(f"{scope}/layer_0/{GOOGLE_NAMES['query_kernel']}")
    int8 = kernel is not None and kernel.dtype.name == "int8"
    if quantization is not None and quantization.startswith("int8") != int8:
        made_by = "tools/ckpt_quantization.py writes int8 checkpoints with --int8_mode and those for fp8 with --precision=fp8"
        raise ValueError(
            f"checkpoint {reader.prefix} is {'int8' if int8 else 'no int8 checkpoint'}, but quantization is {quantization!r}; {made_by}"
        )
    layers = _read_layers(reader, scope, *sizes, dtype, int8)
    if quantization is None and not int8:
        return Encoder(layers, None, None)
    lists, per_channel = [], False
    for index in range(config.num_hidden_layers):
        name = names.amax_list_name(index, scope)
        if name not in reader.variables:
            raise ValueError(f"checkpoint {reader.prefix} has no variable {name}: write it with tools/ckpt_quantization.py")
        values = reader.read(name)
        try:
            per_channel |= amax_list.parse(values, *sizes[1:]).per_channel
        except ValueError as error:
            raise ValueError(f"checkpoint {reader.prefix}: variable {name}: {error}") from error
        lists.append(values.astype(np.float32))
    return Encoder(layers, quantization or ("int8_mode1" if per_channel else "int8_mode2"), lists)


def read_variables(reader: Checkpoint, shapes: dict[str, tuple], dtype: Any = None) -> list[np.ndarray]:
    """Reads float variables by name; in `shapes` None stands for any length.

    Raises:
      ValueError: see weights_from_checkpoint.
    """
    numpy_dtype = None if dtype is None else _numpy_dtype(dtype)
    arrays = []
    for name, shape in shapes.items():
        _check_variable(reader, name, shape)
        array = reader.read(name)
        arrays.append(array if numpy_dtype is None else array.astype(numpy_dtype))
    return arrays


def _read_layers(
    reader: Checkpoint, scope: str, num_layers: int, hidden_size: int, intermediate_size: int, dtype: Any, int8: bool = False
) -> list[ops.LayerWeights]:
    """The layers; with int8 their kernels must be int8 and stay so."""
    numpy_dtype = None if dtype is None else _numpy_dtype(dtype)
    shapes = ops.weight_shapes(hidden_size, intermediate_size)._asdict()
    layers = []
    for index in range(num_layers):
        arrays = {}
        for field, google_name in GOOGLE_NAMES.items():
            name = f"{scope}/layer_{index}/{google_name}"
            kernel = int8 and field.endswith("_kernel")
            _check_variable(reader, name, shapes[field], ("int8",) if kernel else FLOAT_TYPES)
            array = reader.read(name)
            arrays[field] = array if numpy_dtype is None or kernel else array.astype(numpy_dtype)
        layers.append(ops.LayerWeights(**arrays))
    return layers


def _sizes(reader: Checkpoint, scope: str) -> tuple[int, int, int]:
    """(number of layers, hidden size, intermediate size) of the encoder under `scope`."""
    pattern = re.compile(re.escape(scope) + r"/layer_(\d+)/")
    indices = {int(match[1]) for match in map(pattern.match, reader.variables) if match}
    if not indices:
        scopes = sorted({name[: name.index("/layer_0/")] for name in reader.variables if "/layer_0/" in name})
        hint = f"; it has layers under {', '.join(scopes)}" if scopes else ""
        raise ValueError(f"checkpoint {reader.prefix} has no variables {scope}/layer_<i>/...{hint}")
    kernel = f"{scope}/layer_0/{GOOGLE_NAMES['intermediate_kernel']}"
    hidden_size, intermediate_size = _check_variable(reader, kernel, ("hidden size", "intermediate size"), (*FLOAT_TYPES, "int8"))
    return max(indices) + 1, hidden_size, intermediate_size


def _check_variable(reader: Checkpoint, name: str, shape: tuple, types: tuple[str, ...] = FLOAT_TYPES) -> tuple[int, ...]:
    """Its shape, if that and its type are as expected; a size that is no number may be any (None, or what it is called)."""
    variable = reader.variables.get(name)
    if variable is None:
        close = difflib.get_close_matches(name, reader.variables, n=3, cutoff=0.7)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise ValueError(f"checkpoint {reader.prefix} has no variable {name}{hint}")
    if len(variable.shape) != len(shape) or any(isinstance(want, int) and want != got for want, got in zip(shape, variable.shape)):
        expected = "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"
        raise ValueError(f"checkpoint {reader.prefix}: variable {name} has shape {list(variable.shape)}, expected {expected}")
    if variable.dtype.name not in types:
        expected = types[0] if len(types) == 1 else f"one of {', '.join(types)}"
        raise ValueError(f"checkpoint {reader.prefix}: variable {name} has type {variable.dtype.name}, expected {expected}")
    return tuple(variable.shape)


def _numpy_dtype(dtype: Any) -> np.dtype:
    import tensorflow as tf

    dtype = tf.as_dtype(dtype)
    if dtype.name not in FLOAT_TYPES:
        raise ValueError(f"dtype is {dtype.name}; it must be one of {', '.join(FLOAT_TYPES)}")
    return np.dtype(dtype.as_numpy_dtype)


def check_checkpoint_dtype(checkpoint: str | os.PathLike, floatx: str, scope: str = "bert") -> None:
    """Sees that the model's variables in a checkpoint are of type `floatx`, which TensorFlow says late and badly.

    Looks at the variables under `scope` that tools/ckpt_type_convert.py casts: not at optimizer slots and quantizers' ranges.

    Raises:
      ValueError: one is of another float type; the message names the first and says how to convert the checkpoint.
      CheckpointError: the checkpoint is missing or unreadable.
    """
    if floatx not in FLOAT_TYPES:
        raise ValueError(f"floatx is {floatx!r}; it must be one of {', '.join(FLOAT_TYPES)}")
    reader = Checkpoint(os.fspath(checkpoint))
    kept = not_cast(reader.variables)
    for name, variable in reader.variables.items():
        stored = variable.dtype.name
        if not name.startswith(scope + "/") or name in kept or stored == floatx or stored not in FLOAT_TYPES:
            continue
        if floatx == "float32":
            advice = f"run with --floatx={stored}, or use the float32 checkpoint that it was converted from"
        else:
            advice = f"run with --floatx={stored}, or convert the checkpoint with tools/ckpt_type_convert.py"
        raise ValueError(f"checkpoint {reader.prefix} is {stored} (variable {name}), but floatx is {floatx}: {advice}")
