"""BERT's encoder by Google's variable names: in TF1 graphs, from checkpoints, and as a tf.Module.

- `encoder(...)`: creates the variables in the current variable scope, as Google's transformer_model does, and calls the op.
- `weights_from_checkpoint(...)`: the weights of a checkpoint as NumPy arrays, for any use of `tf_fastbert.fast_bert_encoder`.
- `BertEncoder`: a tf.Module for eager code, tf.function and SavedModel.
"""

from __future__ import annotations

import re
from typing import Any

import tensorflow.compat.v1 as tf

from tf_fastbert import ops
from tf_fastbert.config import check_heads
from tf_fastbert.module import BertEncoder
from tf_fastbert.quantization import amax_list, names
from tf_fastbert.weights import GOOGLE_NAMES, check_checkpoint_dtype, weights_from_checkpoint

__all__ = [
    "BertEncoder",
    "GOOGLE_NAMES",
    "check_checkpoint_dtype",
    "encoder",
    "layer_variables",
    "weights_from_checkpoint",
]

# The order in which Google's code creates them, which is the order of tf.trainable_variables(): beta before gamma.
_SWAP = {"gamma": "beta", "beta": "gamma"}
_CREATION_ORDER = [re.sub("gamma$|beta$", lambda match: _SWAP[match[0]], field) for field in GOOGLE_NAMES]


def layer_variables(
    index: int,
    hidden_size: int,
    intermediate_size: int,
    dtype: Any = tf.float32,
    initializer_range: float = 0.02,
    trainable: bool = True,
    kernel_dtype: Any = None,
) -> ops.LayerWeights:
    """Creates, or under reuse reads, one layer's variables `layer_<index>/...` in the current variable scope.

    They are resource variables with Google's names, shapes, initializers and collections. `kernel_dtype` is the type of the kernels
    where it differs from the rest: int8 kernels come from a checkpoint and start as zeros.
    """
    initializers = {
        "kernel": tf.truncated_normal_initializer(stddev=initializer_range),
        "bias": tf.zeros_initializer(),
        "beta": tf.zeros_initializer(),
        "gamma": tf.ones_initializer(),
    }
    if kernel_dtype is not None:
        initializers["kernel"] = tf.zeros_initializer()
    shapes = ops.weight_shapes(hidden_size, intermediate_size)._asdict()
    weights = {}
    for field in _CREATION_ORDER:
        kind = field.rpartition("_")[2]
        collections = [tf.GraphKeys.GLOBAL_VARIABLES]
        if kind in ("beta", "gamma"):  # contrib's layer_norm makes model variables
            collections.append(tf.GraphKeys.MODEL_VARIABLES)
        weights[field] = tf.get_variable(
            f"layer_{index}/{GOOGLE_NAMES[field]}",
            shape=shapes[field],
            dtype=kernel_dtype if kind == "kernel" and kernel_dtype is not None else dtype,
            initializer=initializers[kind],
            collections=collections,
            trainable=trainable,
            # The op recognises reads of resource variables as immutable between assignments and prepares the weights once.
            use_resource=True,
        )
    return ops.LayerWeights(**weights)


def amax_list_variable(index: int, hidden_size: int, intermediate_size: int) -> Any:
    """Creates, or under reuse reads, `layer_<index>/amaxList`, float32, on the CPU: the op reads it in host memory."""
    with tf.device("/CPU:0"):
        return tf.get_variable(
            f"layer_{index}/{names.AMAX_LIST}",
            shape=[amax_list.size(hidden_size, intermediate_size)],
            dtype=tf.float32,
            # Ones: a graph without a checkpoint runs.
            initializer=tf.ones_initializer(),
            # Never trained and always float32, yet among the trainable variables: scripts load those from --init_checkpoint.
            trainable=False,
            collections=[tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES],
            use_resource=True,
        )


def encoder(
    hidden_states: Any,
    sequence_length: Any = None,
    *,
    num_layers: int,
    num_heads: int,
    intermediate_size: int,
    activation: str = "gelu_tanh",
    layer_norm: str = "post",
    epsilon: float = 1e-12,
    remove_padding: bool = True,
    all_layers: bool = False,
    precision: str = "default",
    initializer_range: float = 0.02,
    trainable: bool = True,
    name: str | None = None,
) -> Any:
    """BERT's encoder in a TF1 graph, with variables under Google's names in the current variable scope.

        with tf.variable_scope("bert/encoder"):
            output = encoder(embeddings, lengths, num_layers=12, num_heads=12, intermediate_size=3072)

    Args:
      hidden_states: [B, S, H], float32, float16 or bfloat16; H is known. The variables have the same type.
      sequence_length: int32 [B], the number of valid tokens of each sequence, or int32 [B, S], a mask (nonzero = valid, holes
        allowed). None: all are valid.
      activation, layer_norm, epsilon, remove_padding, precision: see tf_fastbert.fast_bert_encoder.
      all_layers: return every layer's output.

    Returns:
      [B, S, H], or [num_layers, B, S, H] with all_layers, of the type of hidden_states. Rows of padding tokens are zero.

    Raises:
      ValueError: hidden_states has an unknown or unsupported shape, or a variable exists with another shape or type.
    """
    hidden_states = tf.convert_to_tensor(hidden_states, name="hidden_states")
    if hidden_states.shape.rank != 3 or hidden_states.shape[-1] is None:
        raise ValueError(f"hidden_states must be [B, S, H] with a known H, not {hidden_states.shape}")
    hidden_size = int(hidden_states.shape[-1])
    size_per_head = check_heads(hidden_size, num_heads)
    layers = [
        layer_variables(index, hidden_size, intermediate_size, hidden_states.dtype, initializer_range, trainable)
        for index in range(num_layers)
    ]
    if sequence_length is None:
        sequence_length = ops.full_length(hidden_states)
    return ops.fast_bert_encoder(
        hidden_states,
        sequence_length,
        layers,
        num_heads=num_heads,
        size_per_head=size_per_head,
        epsilon=epsilon,
        activation=activation,
        layer_norm=layer_norm,
        remove_padding=remove_padding,
        all_layers=all_layers,
        precision=precision,
        name=name,
    )
