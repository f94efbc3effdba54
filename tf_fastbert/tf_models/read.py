"""Reads a BertEncoder or BertEncoderV2 of tf-models-official: sizes, options, and its variables as the op wants them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_fastbert import ops
from tf_fastbert.config import check_heads

_NETWORKS = "official.nlp.modeling.networks.bert_encoder"
_LAYERS = "official.nlp.modeling.layers"
# Attribute of TransformerEncoderBlock -> what it must be.
_PLAIN_BLOCK = {
    "_use_bias": True, "_use_rms_norm": False, "_use_query_residual": True, "_diff_q_kv_att_layer_norm": False,
    "_return_attention_scores": False, "_num_kv_heads": None, "_src_block_size": None, "_linformer_dim": None,
    "_attention_axes": None, "_output_range": None,
}  # fmt: skip


class Sizes(NamedTuple):
    num_layers: int
    num_heads: int
    size_per_head: int
    hidden_size: int
    intermediate_size: int


class Description(NamedTuple):
    """What there is to know of an encoder besides its variables.

    Attributes:
      options: activation, layer_norm and epsilon, as for ops.fast_bert_encoder.
      output_range: how many positions the last layer gives, or None.
      plain_embeddings: the embeddings are what the op FastBertEmbedding computes.
    """

    sizes: Sizes
    options: dict[str, Any]
    output_range: int | None
    plain_embeddings: bool


def is_encoder(model: Any) -> bool:
    """Whether it is a BertEncoder or BertEncoderV2, subclasses excepted: they may compute something else."""
    networks = sys.modules.get(_NETWORKS)  # whoever has an encoder has imported it
    return networks is not None and type(model) in (networks.BertEncoder, networks.BertEncoderV2)


def describe(encoder: Any, any_policy: bool = False) -> Description:
    """Reads a built encoder.

    Args:
      any_policy: take one that is not float32 throughout, too.

    Raises:
      ValueError: it is configured in a way that the op does not compute; the message names the option.
    """
    config = encoder.get_config()
    for option in ("return_attention_scores", "with_dense_inputs"):
        if config.get(option):
            raise ValueError(f"encoder {encoder.name}: {option} is not supported")
    blocks = encoder.transformer_layers
    hidden_size = int(blocks[0]._output_layer_norm.gamma.shape[0])
    num_heads = blocks[0]._num_heads
    try:
        size_per_head = check_heads(hidden_size, num_heads)
    except ValueError as error:
        raise ValueError(f"encoder {encoder.name}: {error}") from error
    block_class = sys.modules[f"{_LAYERS}.transformer_encoder_block"].TransformerEncoderBlock
    for block in blocks:
        if type(block) is not block_class:
            raise ValueError(f"encoder {encoder.name}: layer {block.name} is a {type(block).__name__}, not a TransformerEncoderBlock")
        wanted = {**_PLAIN_BLOCK, "_num_heads": num_heads, "_key_dim": size_per_head}
        for attribute, value in wanted.items():
            if getattr(block, attribute, value) != value:
                raise ValueError(
                    f"encoder {encoder.name}: layer {block.name} has {attribute[1:]} {getattr(block, attribute)!r}, supported is "
                    f"{value!r}"
                )
        for variable in block.weights:
            if not any_policy and (variable.dtype.base_dtype != tf.float32 or block.compute_dtype != "float32"):
                raise ValueError(
                    f"encoder {encoder.name}: layer {block.name} computes in {block.compute_dtype} with {variable.dtype.name} "
                    "variables (its Keras policy); a patched encoder is float32 throughout. tf_fastbert.tf_models.to_layer makes a "
                    "layer in 16 bit of it"
                )
    sizes = Sizes(len(blocks), num_heads, size_per_head, hidden_size, int(blocks[0]._intermediate_dense.kernel.shape[1]))
    options = {
        "activation": _activation_name(encoder.name, blocks[0]._inner_activation),
        "layer_norm": "pre" if blocks[0]._norm_first else "post",
        "epsilon": blocks[0]._norm_epsilon,
    }
    return Description(sizes, options, config.get("output_range"), _has_plain_embeddings(encoder, config))


def layers(encoder: Any, sizes: Sizes) -> list[ops.LayerWeights]:
    """Its variables, those of attention reshaped: tf-models keeps [H, heads, size per head]. In a graph the op sees the variable
    behind a Reshape, and prepares the weights once."""
    square, vector = [sizes.hidden_size, sizes.hidden_size], [sizes.hidden_size]

    def dense(layer: Any) -> tuple[Any, Any]:
        return tf.reshape(layer.kernel, square), tf.reshape(layer.bias, vector)

    result = []
    for block in encoder.transformer_layers:
        attention = block._attention_layer
        products = (attention._query_dense, attention._key_dense, attention._value_dense, attention._output_dense)
        weights = [value for layer in products for value in dense(layer)]
        weights += [block._attention_layer_norm.gamma, block._attention_layer_norm.beta]
        weights += [block._intermediate_dense.kernel, block._intermediate_dense.bias]
        weights += [block._output_dense.kernel, block._output_dense.bias]
        weights += [block._output_layer_norm.gamma, block._output_layer_norm.beta]
        result.append(ops.LayerWeights(*weights))
    return result


def embedding_weights(encoder: Any) -> dict[str, Any]:
    """The arguments of ops.fast_bert_embedding that are weights, for an encoder with plain embeddings."""
    return {
        "word_embeddings": encoder._embedding_layer.embeddings,
        "position_embeddings": encoder._position_embedding_layer._position_embeddings,
        "token_type_embeddings": encoder._type_embedding_layer.embeddings,
        "gamma": encoder._embedding_norm_layer.gamma,
        "beta": encoder._embedding_norm_layer.beta,
    }


def _has_plain_embeddings(encoder: Any, config: dict[str, Any]) -> bool:
    on_device = sys.modules[f"{_LAYERS}.on_device_embedding"].OnDeviceEmbedding
    positions = sys.modules[f"{_LAYERS}.position_embedding"].PositionEmbedding
    tables = (encoder._embedding_layer, encoder._type_embedding_layer)
    return (
        all(type(table) is on_device and not table._scale_factor for table in tables)
        and type(encoder._position_embedding_layer) is positions
        and encoder._position_embedding_layer._seq_axis == 1
        and config["embedding_width"] == config["hidden_size"]
        and not config.get("return_word_embeddings")
    )


def _activation_name(encoder: str, activation: Callable[..., Any] | str) -> str:
    """The op's name of an activation, which is recognised by what it computes: it comes as a lambda as often as by name.

    Raises:
      ValueError: it is none that the op has.
    """
    import tf_keras

    points = np.linspace(-4, 4, 41, dtype=np.float32)
    with tf.init_scope():
        values = np.asarray(tf_keras.activations.get(activation)(tf.constant(points)))
    references = {"gelu_tanh": tf.nn.gelu(points, approximate=True), "gelu_erf": tf.nn.gelu(points), "relu": tf.nn.relu(points)}
    for name, reference in references.items():
        if np.abs(values - np.asarray(reference)).max() < 1e-5:  # the two forms of GELU are up to 5e-4 apart
            return name
    raise ValueError(f"encoder {encoder}: the activation {activation!r} is not supported; supported: {', '.join(references)}")
