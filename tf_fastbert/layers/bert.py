"""BertMixin: the whole BERT as a Keras layer, token ids in, sequence output and pooled output out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tf_fastbert import op_inputs, ops
from tf_fastbert.checkpoint import Checkpoint
from tf_fastbert.config import BertConfig, config_of, is_size
from tf_fastbert.layers.common import InferenceLayer, assign, tf_variable
from tf_fastbert.layers.encoder import OPTIONS
from tf_fastbert.weights import EMBEDDING_NAMES, POOLER_NAMES, encoder_from_checkpoint, read_variables

# Key of a dictionary of inputs -> argument of call: as TF Hub and tf-models, Google's scripts, and Hugging Face spell them.
INPUT_KEYS = {
    "input_word_ids": "input_ids", "input_mask": "input_mask", "input_type_ids": "token_type_ids",
    "input_ids": "input_ids", "segment_ids": "token_type_ids",
    "attention_mask": "input_mask", "token_type_ids": "token_type_ids",
}  # fmt: skip
_SIZES = ("vocab_size", "hidden_size", "num_layers", "num_heads", "intermediate_size", "max_position_embeddings", "type_vocab_size")


class BertMixin(InferenceLayer):
    """BERT: token ids [B, S] -> {"sequence_output": [B, S, H], "pooled_output": [B, H]}. For inference.

        bert = Bert.from_checkpoint("uncased_L-12_H-768_A-12")
        outputs = bert({"input_word_ids": ids, "input_mask": mask, "input_type_ids": segments})

    Works where BertEncoder does. Its parts are the ops FastBertEmbedding and FastBertEncoder and a dense pooler.

    Attributes of the class that the file which names the Keras has to set:
      encoder_class: its BertEncoder.
    """

    encoder_class: Any

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        intermediate_size: int,
        *,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        pooler: bool = True,
        **kwargs: Any,
    ) -> None:
        """Weights are random until some are loaded.

        Args:
          pooler: give pooled_output, tanh(dense(sequence_output[:, 0])).
          kwargs: the keyword arguments of BertEncoder: activation, layer_norm, epsilon, remove_padding, precision, quantization,
            all_layers (which gives "encoder_outputs" too, a list of every layer's [B, S, H]), and those of keras.layers.Layer.

        Raises:
          ValueError: a size, an option or the dtype is not supported, or trainable=True.
        """
        options = {name: kwargs.pop(name) for name in OPTIONS if name in kwargs}
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.intermediate_size = intermediate_size
        self.max_position_embeddings = max_position_embeddings
        self.type_vocab_size = type_vocab_size
        self.pooler = pooler
        for argument in _SIZES:
            if not is_size(getattr(self, argument)):
                raise ValueError(f"{type(self).__name__}: {argument} is {getattr(self, argument)!r}, expected a positive integer.")
        self.encoder = self.encoder_class(
            num_layers, num_heads, intermediate_size, **options, name="encoder", dtype=self.compute_dtype
        )
        self.all_layers = self.encoder.all_layers
        self._initializer = "truncated_normal"

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | os.PathLike,
        config: BertConfig | str | os.PathLike | None = None,
        *,
        scope: str = "bert",
        dtype: Any = None,
        quantization: str | None = None,
        pooler: bool | None = None,
        **options: Any,
    ) -> Any:
        """A layer with the weights of a checkpoint in Google's format.

        Args:
          scope: the variable scope of the model.
          pooler: None: if the checkpoint has one.
          The rest: see BertEncoder.from_checkpoint.

        Raises: as BertEncoder.from_checkpoint.
        """
        reader = Checkpoint(os.fspath(checkpoint))
        config = config_of(reader.prefix, config)
        encoder = encoder_from_checkpoint(reader.prefix, config, scope=f"{scope}/encoder", quantization=quantization)
        hidden = config.hidden_size
        shapes = [(None, hidden)] * 3 + [(hidden,)] * 2
        tables = dict(zip((f"{scope}/{name}" for name in EMBEDDING_NAMES.values()), shapes, strict=True))
        if pooler is None:
            pooler = f"{scope}/{POOLER_NAMES['kernel']}" in reader.variables
        dense = {f"{scope}/{POOLER_NAMES['kernel']}": (hidden, hidden), f"{scope}/{POOLER_NAMES['bias']}": (hidden,)}
        values = read_variables(reader, {**tables, **(dense if pooler else {})})
        layer = cls(
            values[0].shape[0],
            hidden,
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
            max_position_embeddings=values[1].shape[0],
            type_vocab_size=values[2].shape[0],
            pooler=pooler,
            dtype=dtype or encoder.layers[0].query_bias.dtype.name,
            quantization=encoder.quantization,
            **{"activation": config.activation, "epsilon": config.layer_norm_eps, **options},
        )
        layer.encoder.build_with(encoder)
        layer._initializer = "zeros"
        layer.build(None)
        for variable, value in zip([*layer.embeddings.values(), *layer.pooler_weights], values, strict=True):
            assign(variable, value)
        return layer

    def build(self, input_shape: Any) -> None:
        del input_shape  # every size is known
        hidden = self.hidden_size
        rows = (self.vocab_size, self.max_position_embeddings, self.type_vocab_size)
        tables = [self._weight(name, (n, hidden), self._initializer) for name, n in zip(EMBEDDING_NAMES, rows)]
        tables += [self._weight("gamma", (hidden,), "ones"), self._weight("beta", (hidden,), "zeros")]
        self.embeddings = dict(zip(EMBEDDING_NAMES, tables, strict=True))
        self.pooler_weights = []
        if self.pooler:
            self.pooler_weights = [
                self._weight("pooler_kernel", (hidden, hidden), self._initializer),
                self._weight("pooler_bias", (hidden,), "zeros"),
            ]
        if not self.encoder.built:
            self.encoder.build((None, None, hidden))
        self.built = True

    def call(self, input_ids: Any, input_mask: Any = None, token_type_ids: Any = None) -> dict[str, Any]:
        """Runs the model.

        Args:
          input_ids: int32 [B, S]; or a dictionary of all three under the names of TF Hub and tf-models (input_word_ids, input_mask,
            input_type_ids), of Google's scripts (input_ids, input_mask, segment_ids) or of Hugging Face (input_ids,
            attention_mask, token_type_ids).
          input_mask: int32 [B, S], nonzero = valid, holes allowed, or int32 [B], how many tokens are valid. None: all are.
          token_type_ids: int32 [B, S]. None: zeros.

        Returns:
          "sequence_output" [B, S, H], "pooled_output" [B, H] with pooler, and "encoder_outputs", num_layers times [B, S, H], with
          all_layers. Rows of padding are zero.

        Raises:
          TypeError, ValueError: a wrong type, shape or key; the message names it.
          tf.errors.InvalidArgumentError: an id or a length is out of range.
        """
        name = type(self).__name__
        if isinstance(input_ids, Mapping):
            input_ids, input_mask, token_type_ids = _arguments(name, input_ids, input_mask, token_type_ids)
        ids = op_inputs.convert_ids(name, "input_ids", input_ids)
        types = tf.zeros_like(ids) if token_type_ids is None else op_inputs.convert_ids(name, "token_type_ids", token_type_ids)
        valid = None
        if input_mask is not None:
            valid = op_inputs.convert_sequence_length(name, input_mask, ids.shape, like="input_ids")
        hidden_states = ops.fast_bert_embedding(
            ids, types, sequence_length=valid, epsilon=self.encoder.epsilon,
            **{argument: tf_variable(variable) for argument, variable in self.embeddings.items()},
        )  # fmt: skip
        encoded = self.encoder(hidden_states, sequence_length=valid)
        outputs: dict[str, Any] = {}
        if self.all_layers:
            outputs["encoder_outputs"] = tf.unstack(encoded, self.num_layers)
            encoded = outputs["encoder_outputs"][-1]
        outputs["sequence_output"] = encoded
        if self.pooler:
            kernel, bias = map(tf_variable, self.pooler_weights)
            outputs["pooled_output"] = tf.tanh(tf.matmul(encoded[:, 0], kernel) + bias)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> dict[str, Any]:
        shape = input_shape
        if isinstance(shape, Mapping):
            shape = next(shape[key] for key, argument in INPUT_KEYS.items() if argument == "input_ids" and key in shape)
        shape = (*tuple(shape), self.hidden_size)
        shapes: dict[str, Any] = {"encoder_outputs": [shape] * self.num_layers} if self.all_layers else {}
        shapes["sequence_output"] = shape
        if self.pooler:
            shapes["pooled_output"] = (shape[0], self.hidden_size)
        return shapes

    def get_config(self) -> dict[str, Any]:
        mine = {name: getattr(self, name) for name in (*_SIZES, "pooler")}
        return {**super().get_config(), **mine, **self.encoder.options()}


def _arguments(function: str, inputs: Mapping[str, Any], input_mask: Any, token_type_ids: Any) -> tuple[Any, Any, Any]:
    """input_ids, input_mask and token_type_ids of a dictionary of inputs.

    Raises:
      ValueError: a key is unknown, given twice in two spellings, or the ids are missing.
    """
    found = {"input_ids": None, "input_mask": input_mask, "token_type_ids": token_type_ids}
    for key, value in inputs.items():
        if key not in INPUT_KEYS:
            raise ValueError(f"{function}: unknown input {key!r}; known are {', '.join(INPUT_KEYS)}")
        if found[INPUT_KEYS[key]] is not None:
            raise ValueError(f"{function}: {INPUT_KEYS[key]} is given twice, once as {key!r}")
        found[INPUT_KEYS[key]] = value
    if found["input_ids"] is None:
        raise ValueError(f"{function}: the inputs {', '.join(map(repr, inputs))} lack the ids (input_word_ids or input_ids)")
    return found["input_ids"], found["input_mask"], found["token_type_ids"]
