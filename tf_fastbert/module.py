"""BertEncoder: the encoder as a tf.Module, for eager code, tf.function and SavedModel."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_fastbert import ops
from tf_fastbert.checkpoint.reader import find_checkpoint
from tf_fastbert.config import BertConfig, check_heads, config_of
from tf_fastbert.quantization import names
from tf_fastbert.weights import GOOGLE_NAMES, encoder_from_checkpoint


class BertEncoder(tf.Module):
    """BERT's encoder with its weights as tf.Variables.

        encoder = BertEncoder.from_checkpoint("bert_model.ckpt", "bert_config.json")
        output = encoder(hidden_states, sequence_length)
        tf.saved_model.save(encoder, "saved")      # the loaded object has .encode(hidden_states, sequence_length)

    A process that loads the SavedModel must load the op first: `tf_fastbert.ops.load_library()`.

    Attributes:
      layers: a LayerWeights of tf.Variables for each layer.
      encode: tf.function of hidden_states [B, S, H] and sequence_length, int32 [B], or a mask, int32 [B, S]; what a SavedModel
        keeps.
    """

    _attributes: dict[str, Any]

    def __init__(
        self,
        layers: Sequence[ops.LayerWeights],
        *,
        num_heads: int,
        activation: str = "gelu_tanh",
        layer_norm: str = "post",
        epsilon: float = 1e-12,
        remove_padding: bool = True,
        all_layers: bool = False,
        precision: str = "default",
        quantization: str | None = None,
        amax_lists: Sequence[Any] | None = None,
        name: str | None = None,
    ) -> None:
        """Makes variables of the weights.

        Args:
          layers: weights (NumPy arrays, tensors or tf.Variables, which are used as they are), all of one float type; the kernels
            int8 in the int8 modes of `quantization`.
          quantization, amax_lists: both or neither; see tf_fastbert.fast_bert_quantized_encoder.
          num_heads and the rest: see tf_fastbert.fast_bert_encoder.

        Raises:
          ValueError: no layers, an unsupported head size, or quantization without amax_lists or the other way round.
        """
        super().__init__(name=name)
        if not layers:
            raise ValueError("BertEncoder needs at least one layer")
        if (quantization is None) != (amax_lists is None):
            raise ValueError("BertEncoder takes quantization and amax_lists together: give both or neither")
        self._variables = [
            [
                _variable(value, f"layer_{index}/{GOOGLE_NAMES[field]}")
                for field, value in zip(ops.LayerWeights._fields, layer, strict=True)
            ]
            for index, layer in enumerate(layers)
        ]
        self.hidden_size = int(self._variables[0][0].shape[0])
        self.dtype = self._variables[0][1].dtype  # of a bias: kernels may be int8
        self._amax_lists = None
        if amax_lists is not None:
            with tf.device("/CPU:0"):  # where the op reads them
                self._amax_lists = [_variable(value, f"layer_{i}/{names.AMAX_LIST}") for i, value in enumerate(amax_lists)]
        self._attributes: dict[str, Any] = {
            "num_heads": num_heads,
            "size_per_head": check_heads(self.hidden_size, num_heads),
            "activation": activation,
            "layer_norm": layer_norm,
            "epsilon": epsilon,
            "remove_padding": remove_padding,
            "all_layers": all_layers,
            "precision": precision,
        }
        if quantization is not None:
            self._attributes["quantization"] = quantization
        self.encode = tf.function(
            self.__call__,
            input_signature=[
                tf.TensorSpec([None, None, self.hidden_size], self.dtype, name="hidden_states"),
                tf.TensorSpec(None, tf.int32, name="sequence_length"),
            ],
        )

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | os.PathLike,
        config: BertConfig | str | os.PathLike | None = None,
        *,
        scope: str = "bert/encoder",
        dtype: Any = None,
        quantization: str | None = None,
        **options: Any,
    ) -> BertEncoder:
        """Reads a checkpoint in Google's format.

        Args:
          checkpoint: its prefix or directory.
          config: a BertConfig or the path of bert_config.json. None: the one beside the checkpoint.
          scope, dtype, quantization: see tf_fastbert.weights.encoder_from_checkpoint.
          options: keyword arguments of the constructor.
        """
        prefix = find_checkpoint(os.fspath(checkpoint))
        config = config_of(prefix, config)
        encoder = encoder_from_checkpoint(prefix, config, scope=scope, dtype=dtype, quantization=quantization)
        options = {"activation": config.activation, "epsilon": config.layer_norm_eps, **encoder._asdict(), **options}
        return cls(num_heads=config.num_attention_heads, **options)

    @property
    def layers(self) -> list[ops.LayerWeights]:
        return [ops.LayerWeights(*variables) for variables in self._variables]

    def __call__(self, hidden_states: Any, sequence_length: Any = None) -> Any:
        """Runs the encoder.

        Args:
          hidden_states: [B, S, H] of the weights' type.
          sequence_length: int32 [B], or a mask, int32 [B, S]; None: all tokens are valid.

        Returns:
          [B, S, H], or [num_layers, B, S, H] if all_layers; rows of padding tokens are zero.
        """
        hidden_states = tf.convert_to_tensor(hidden_states, self.dtype)
        if sequence_length is None:
            sequence_length = ops.full_length(hidden_states)
        if tf.executing_eagerly():
            # One call instead of one for each of the weights: an eager op reads each variable by itself.
            return self.encode(hidden_states, tf.cast(sequence_length, tf.int32))
        if self._amax_lists is None:
            return ops.fast_bert_encoder(hidden_states, sequence_length, self.layers, **self._attributes)
        return ops.fast_bert_quantized_encoder(
            hidden_states, sequence_length, self.layers, self._amax_lists, **self._attributes
        )


def _variable(value: Any, name: str) -> tf.Variable:
    if isinstance(value, tf.Variable):
        return value
    if tf.executing_eagerly():
        # A tensor made of an array keeps NumPy's memory, and so would the variable. The op cannot know that nobody writes there,
        # and would look through all weights for changes on each call on a CPU.
        with tf.device("/CPU:0"):
            value = tf.raw_ops.DeepCopy(x=tf.convert_to_tensor(value))
    return tf.Variable(value, trainable=False, name=name)
