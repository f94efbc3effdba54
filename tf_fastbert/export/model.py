"""The graph of a served model: embeddings and encoder by our ops, the head in float32 as Google's scripts compute it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tf_fastbert import ops
from tf_fastbert.config import BertConfig
from tf_fastbert.patching.options import Options
from tf_fastbert.quantization import names
from tf_fastbert.weights import GOOGLE_NAMES

# Google's constant for positions that must not win; see tf_fastbert/patching/padding.py.
_LOWEST = -10000.0


class ServedBert(tf.Module):
    """A BertModel and its head for inference."""

    def __init__(
        self,
        weights: Mapping[str, np.ndarray],
        config: BertConfig,
        task: str,
        options: Options,
        *,
        as_variables: bool = False,
    ) -> None:
        """
        Args:
          weights: Google's names -> values, as export.checkpoint.read gives them.
          as_variables: keep them as variables instead of constants in the graph. A call then reads each of them, which takes
            several times as long as the rest of the call's overhead; but a graph of 2 GB and more needs it.
        """
        super().__init__(name="bert")
        self._config, self._task, self._options = config, task, options
        self._weights: dict[str, Any] = dict(weights)
        if as_variables:
            for name, value in weights.items():
                with tf.device("/CPU:0" if name.endswith(names.AMAX_LIST) else None):
                    self._weights[name] = tf.Variable(value, trainable=False, name=name)

    def concrete_function(self) -> Any:
        """A new ConcreteFunction of input_ids, input_mask and segment_ids, int32 [batch, seq_len] each, to a dictionary:

        task "squad": start_logits and end_logits, float32 [batch, seq_len], -10000 at padding;
        task "classifier": probabilities and logits, float32 [batch, labels];
        task "encoder": sequence_output, float32 [batch, seq_len, hidden], zero at padding, and pooled_output, float32 [batch,
        hidden], if the checkpoint has a pooler.

        The mask may have holes; what is zero in it is padding. The function is no attribute of the module: a SavedModel would
        then hold it, and all its constants, twice.
        """
        ids = [tf.TensorSpec([None, None], tf.int32, name=name) for name in ("input_ids", "input_mask", "segment_ids")]
        return tf.function(self._answer, input_signature=ids).get_concrete_function()

    def _weight(self, name: str) -> Any:
        value = self._weights[name]
        # Made inside the function, so that they are constants of its graph; outside they would be inputs of it.
        return tf.constant(value, name=name) if isinstance(value, np.ndarray) else value

    def _float32(self, name: str) -> tf.Tensor:
        return tf.cast(self._weight(name), tf.float32)

    def _answer(self, input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        sequence_output = tf.cast(self._encode(input_ids, input_mask, segment_ids), tf.float32)
        if self._task == "squad":
            return self._spans(sequence_output, input_mask)
        if self._task == "classifier":
            logits = self._head(self._pool(sequence_output), "")
            return {"probabilities": tf.nn.softmax(logits), "logits": logits}
        outputs = {"sequence_output": tf.identity(sequence_output)}
        if "bert/pooler/dense/kernel" in self._weights:
            outputs["pooled_output"] = self._pool(sequence_output)
        return outputs

    def _encode(self, input_ids: tf.Tensor, input_mask: tf.Tensor, segment_ids: tf.Tensor) -> tf.Tensor:
        config, options = self._config, self._options
        embedded = ops.fast_bert_embedding(
            input_ids,
            segment_ids,
            self._weight("bert/embeddings/word_embeddings"),
            self._weight("bert/embeddings/position_embeddings"),
            self._weight("bert/embeddings/token_type_embeddings"),
            self._weight("bert/embeddings/LayerNorm/gamma"),
            self._weight("bert/embeddings/LayerNorm/beta"),
            sequence_length=input_mask,
            name="embeddings",
        )
        attributes: dict[str, Any] = {
            "num_heads": config.num_attention_heads,
            "size_per_head": config.size_per_head,
            "activation": config.activation,
            "remove_padding": options.remove_padding,
            "precision": "default" if options.precision == "fp8" else options.precision,
        }
        layers = [
            ops.LayerWeights(
                **{
                    field: self._weight(f"bert/encoder/layer_{index}/{google_name}")
                    for field, google_name in GOOGLE_NAMES.items()
                }
            )
            for index in range(config.num_hidden_layers)
        ]
        if options.quantization is None:
            return ops.fast_bert_encoder(embedded, input_mask, layers, **attributes)
        with tf.device("/CPU:0"):  # the op reads them there
            amax_lists = [self._weight(names.amax_list_name(index)) for index in range(config.num_hidden_layers)]
        return ops.fast_bert_quantized_encoder(
            embedded, input_mask, layers, amax_lists, quantization=options.quantization, **attributes
        )

    def _pool(self, sequence_output: tf.Tensor) -> tf.Tensor:
        """Google's pooled output [batch, hidden]."""
        first = sequence_output[:, 0]
        return tf.tanh(first @ self._float32("bert/pooler/dense/kernel") + self._float32("bert/pooler/dense/bias"))

    def _head(self, features: tf.Tensor, scope: str) -> tf.Tensor:
        """features [rows, hidden] -> logits [rows, outputs] of the head under `scope`."""
        weights, bias = self._float32(f"{scope}output_weights"), self._float32(f"{scope}output_bias")
        return tf.matmul(features, weights, transpose_b=True) + bias

    def _spans(self, sequence_output: tf.Tensor, input_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = tf.reshape(sequence_output, [-1, self._config.hidden_size])
        logits = tf.reshape(self._head(rows, "cls/squad/"), [*tf.unstack(tf.shape(input_mask)), 2])
        padding = tf.equal(input_mask, 0)
        start, end = (tf.where(padding, _LOWEST, logits[:, :, i]) for i in range(2))
        return {"start_logits": start, "end_logits": end}
