"""The encoder's weights by Google's names, and how they are read from a checkpoint."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any

import numpy as np

from tf_fastbert import ops
from tf_fastbert.checkpoint import Checkpoint
from tf_fastbert.checkpoint.cast import not_cast
from tf_fastbert.config import BertConfig

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
    numpy_dtype = None if dtype is None else _numpy_dtype(dtype)
    if config is None:
        num_layers, hidden_size, intermediate_size = _sizes(reader, scope)
    else:
        num_layers, hidden_size, intermediate_size = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    shapes = ops.weight_shapes(hidden_size, intermediate_size)._asdict()
    layers = []
    for index in range(num_layers):
        arrays = {}
        for field, google_name in GOOGLE_NAMES.items():
            name = f"{scope}/layer_{index}/{google_name}"
            _check_variable(reader, name, shapes[field])
            array = reader.read(name)
            arrays[field] = array if numpy_dtype is None else array.astype(numpy_dtype)
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
    variable = reader.variables.get(kernel)
    if variable is None or len(variable.shape) != 2:
        _check_variable(reader, kernel, ("hidden size", "intermediate size"))
    hidden_size, intermediate_size = variable.shape
    return max(indices) + 1, hidden_size, intermediate_size


def _check_variable(reader: Checkpoint, name: str, shape: tuple) -> None:
    variable = reader.variables.get(name)
    if variable is None:
        close = difflib.get_close_matches(name, reader.variables, n=3, cutoff=0.7)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise ValueError(f"checkpoint {reader.prefix} has no variable {name}{hint}")
    if variable.shape != shape:
        expected = "[" + ", ".join(map(str, shape)) + "]"
        raise ValueError(f"checkpoint {reader.prefix}: variable {name} has shape {list(variable.shape)}, expected {expected}")
    if variable.dtype.name not in FLOAT_TYPES:
        raise ValueError(
            f"checkpoint {reader.prefix}: variable {name} has type {variable.dtype.name}, expected one of "
            f"{', '.join(FLOAT_TYPES)}"
        )


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
