"""What a patched encoder does when it is called: the op for inference, its own layers for training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from tf_fastbert import ops
from tf_fastbert.tf_models import read

_KEYS = ("input_word_ids", "input_mask", "input_type_ids")


class Dispatch(tf_keras.layers.Layer):
    """Calls `original` in training, `fast` otherwise. A layer, because Keras tells only layers whether it is training."""

    def __init__(self, original: Callable[[Any, Any], Any], fast: Callable[..., Any]) -> None:
        super().__init__(name="fastbert")
        # Behind a function: Keras tracks what it finds in attributes, and would take the encoder for a part of this layer.
        self._functions = lambda: (original, fast)

    @tf.autograph.experimental.do_not_convert
    def call(self, inputs: Any, training: Any = None) -> Any:
        original, fast = self._functions()
        arguments = _arguments(inputs)
        # A training flag that is a tensor is known only when the graph runs.
        if arguments is None or training is not None and (tf.is_tensor(training) or training):
            return original(inputs, training)
        return fast(*arguments)


def _arguments(inputs: Any) -> tuple[Any, ...] | None:
    """(ids, mask, types); None if `inputs` is something else, such as word embeddings in place of ids."""
    if isinstance(inputs, Mapping):
        return tuple(inputs[key] for key in _KEYS) if set(inputs) == set(_KEYS) else None
    return tuple(inputs) if isinstance(inputs, (list, tuple)) and len(inputs) == 3 else None


class FastCall:
    """The encoder's function in inference: ids, mask and types, [B, S], to the outputs of encoder.call."""

    def __init__(self, encoder: Any, description: read.Description, remove_padding: bool, precision: str) -> None:
        self._encoder = encoder
        self._described = description
        self._config = encoder.get_config()
        self._gives_dict = not isinstance(encoder, tf_keras.Model) or self._config["dict_outputs"]
        # BertEncoder's configuration lacks return_all_encoder_outputs, which without dict_outputs makes its first output a list.
        self._all_layers = self._gives_dict or isinstance(encoder.output[0], (list, tuple))
        self._attributes = {
            **description.options, "num_heads": description.sizes.num_heads, "size_per_head": description.sizes.size_per_head,
            "remove_padding": remove_padding, "precision": precision, "all_layers": self._all_layers,
        }  # fmt: skip
        self._in_a_graph = tf.function(self._run, autograph=False, reduce_retracing=True)

    def __call__(self, ids: Any, mask: Any, types: Any) -> Any:
        # Eagerly, too, a graph: there each variable is read once, and the op knows that nobody overwrites it.
        return (self._in_a_graph if tf.executing_eagerly() else self._run)(ids, mask, types)

    def _run(self, ids: Any, mask: Any, types: Any) -> Any:
        encoder, sizes = self._encoder, self._described.sizes
        if self._described.plain_embeddings:
            embeddings = ops.fast_bert_embedding(
                ids, types, sequence_length=mask, epsilon=encoder._embedding_norm_layer.epsilon, **read.embedding_weights(encoder)
            )
        else:
            embeddings = self._embeddings(ids, types)
        encoded = ops.fast_bert_encoder(
            embeddings, ops.full_length(embeddings) if mask is None else mask, read.layers(encoder, sizes), **self._attributes
        )
        outputs = tf.unstack(encoded, sizes.num_layers) if self._all_layers else [encoded]
        if self._described.output_range:
            outputs[-1] = outputs[-1][:, : self._described.output_range]
        pooled = encoder.pooler_layer(outputs[-1][:, 0])
        if not self._gives_dict:
            return [outputs if self._all_layers else outputs[-1], pooled]
        result = {"sequence_output": outputs[-1], "pooled_output": pooled, "encoder_outputs": outputs}
        if self._config.get("return_word_embeddings"):
            result["word_embeddings"] = embeddings
        return result

    def _embeddings(self, ids: Any, types: Any) -> Any:
        """By the encoder's own layers."""
        encoder = self._encoder
        words = encoder._embedding_layer(ids)
        total = words + encoder._position_embedding_layer(words) + encoder._type_embedding_layer(types)
        total = encoder._embedding_norm_layer(total)
        projection = getattr(encoder, "_embedding_projection", None)
        return total if projection is None else projection(total)
