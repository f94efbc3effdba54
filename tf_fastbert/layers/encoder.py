"""EncoderMixin: BERT's encoder as a Keras layer."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from tf_fastbert import op_inputs, ops
from tf_fastbert.checkpoint.reader import find_checkpoint
from tf_fastbert.config import BertConfig, check_heads, config_of, is_size
from tf_fastbert.layers.common import InferenceLayer, assign, tf_variable
from tf_fastbert.module import BertEncoder as EncoderModule
from tf_fastbert.quantization import amax_list
from tf_fastbert.weights import Encoder, encoder_from_checkpoint

OPTIONS = ("activation", "layer_norm", "epsilon", "remove_padding", "all_layers", "precision", "quantization")


class EncoderMixin(InferenceLayer):
    """BERT's encoder: [B, S, H] -> [B, S, H], B = batch, S = seq_len, H = hidden size. For inference.

        layer = BertEncoder.from_checkpoint("uncased_L-12_H-768_A-12")
        output = layer(hidden_states, sequence_length=lengths)

    Works eagerly, in functional and subclassed models, model.predict, tf.function, model.save("x.keras") and model.export. The
    weights are variables in the layer's compute type, with Google's shapes; none is trainable, and a value that is assigned to
    one is used from the next call on.
    """

    def __init__(
        self,
        num_layers: int,
        num_heads: int,
        intermediate_size: int,
        *,
        activation: str = "gelu_tanh",
        layer_norm: str = "post",
        epsilon: float = 1e-12,
        remove_padding: bool = True,
        all_layers: bool = False,
        precision: str = "default",
        quantization: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Weights are random until some are loaded.

        Args:
          quantization: None, or see tf_fastbert.fast_bert_quantized_encoder; the weights then include the ranges.
          activation and the other options: see tf_fastbert.fast_bert_encoder.
          kwargs: of keras.layers.Layer: name; dtype, float32, float16 or bfloat16, or a policy that computes in one of them.

        Raises:
          ValueError: an option or the dtype is not supported, or trainable=True.
        """
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.intermediate_size = intermediate_size
        self.activation = activation
        self.layer_norm = layer_norm
        self.epsilon = epsilon
        self.remove_padding = remove_padding
        self.all_layers = all_layers
        self.precision = precision
        self.quantization = quantization
        self.supports_masking = not all_layers
        self._check_arguments()
        self._encode: Any = None
        self._size_per_head = 0
        self._kernel_initializer = "truncated_normal"

    def _check_arguments(self) -> None:
        name = type(self).__name__
        for argument in ("num_layers", "num_heads", "intermediate_size"):
            if not is_size(getattr(self, argument)):
                raise ValueError(f"{name}: {argument} is {getattr(self, argument)!r}, expected a positive integer.")
        choices = {name: (getattr(self, name), allowed) for name, allowed in ops.CHOICES.items() if getattr(self, name) is not None}
        # The size per head is checked when it is known, in build().
        op_inputs.check_options(name, self.num_layers, self.num_heads, 2, **choices)

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
    ) -> Any:
        """A layer with the weights of a checkpoint in Google's format.

        Args:
          checkpoint: its prefix or directory; float, or written by tools/ckpt_quantization.py.
          config: a tf_fastbert.BertConfig or the path of bert_config.json. None: the one beside the checkpoint.
          scope: the variable scope of the encoder.
          dtype: the layer's. None: the type that the checkpoint is stored in.
          quantization: None: what the checkpoint is. "fp8" for a checkpoint for fp8.
          options: arguments of the constructor.

        Raises:
          ValueError: see tf_fastbert.weights.encoder_from_checkpoint and BertConfig.from_file.
          OSError: there is no config file.
          CheckpointError: the checkpoint is missing or unreadable.
        """
        prefix = find_checkpoint(os.fspath(checkpoint))
        config = config_of(prefix, config)
        encoder = encoder_from_checkpoint(prefix, config, scope=scope, quantization=quantization)
        options = {"activation": config.activation, "epsilon": config.layer_norm_eps, **options}
        layer = cls(
            config.num_hidden_layers,
            config.num_attention_heads,
            config.intermediate_size,
            dtype=dtype or encoder.layers[0].query_bias.dtype.name,
            quantization=encoder.quantization,
            **options,
        )
        layer.build_with(encoder)
        return layer

    def build_with(self, encoder: Encoder) -> None:
        """Builds the layer, and gives its variables the values in `encoder`."""
        self._kernel_initializer = "zeros"
        self.build((None, None, encoder.layers[0].query_bias.shape[0]))
        values = [array for layer in encoder.layers for array in layer] + (encoder.amax_lists or [])
        for variable, value in zip(self.weights, values, strict=True):
            assign(variable, value)

    def build(self, input_shape: Any) -> None:
        shape = tuple(input_shape)
        name = type(self).__name__
        if len(shape) != 3 or shape[-1] is None:
            raise ValueError(f"{name}: hidden_states has shape {list(shape)}, expected [batch, seq_len, hidden size]")
        hidden_size = int(shape[-1])
        try:
            self._size_per_head = check_heads(hidden_size, self.num_heads)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        int8 = self.quantization is not None and self.quantization.startswith("int8")
        initializers = {"kernel": "zeros" if int8 else self._kernel_initializer, "gamma": "ones", "bias": "zeros", "beta": "zeros"}
        layers = []
        for index in range(self.num_layers):
            variables = []
            for field, weight_shape in ops.weight_shapes(hidden_size, self.intermediate_size)._asdict().items():
                kind = field.rpartition("_")[2]
                dtype = "int8" if int8 and kind == "kernel" else None
                variables.append(self._weight(f"layer_{index}_{field}", weight_shape, initializers[kind], dtype))
            layers.append(ops.LayerWeights(*map(tf_variable, variables)))
        ranges = []
        if self.quantization is not None:
            size = [amax_list.size(hidden_size, self.intermediate_size)]
            with tf.device("/CPU:0"):  # where the op reads them
                ranges = [self._weight(f"layer_{i}_amax_list", size, "ones", "float32") for i in range(self.num_layers)]
        module = EncoderModule(
            layers, num_heads=self.num_heads, amax_lists=list(map(tf_variable, ranges)) or None, **self.options()
        )
        # Not the module: Keras and tf.Module would find the variables a second time.
        self._encode = module.__call__
        self.built = True

    def call(self, hidden_states: Any, sequence_length: Any = None, mask: Any = None) -> Any:
        """Runs the encoder.

        Args:
          hidden_states: [B, S, H], floats.
          sequence_length: int32 [B], how many tokens of each sequence are valid, or a mask, [B, S], nonzero = valid, holes
            allowed.
          mask: bool [B, S]; Keras passes the one that a layer before this made. With both, tokens are valid that are in both.

        Returns:
          [B, S, H], or [num_layers, B, S, H] with all_layers, of the layer's compute type. Rows of padding are zero.

        Raises:
          TypeError, ValueError: a wrong type or shape.
          tf.errors.InvalidArgumentError: a length is negative or above S.
        """
        name = type(self).__name__
        if mask is None:
            mask = getattr(hidden_states, "_keras_mask", None)  # Keras 3 passes none where there is a second tensor
        hidden_states = tf.convert_to_tensor(hidden_states)
        if hidden_states.dtype.is_floating:
            hidden_states = tf.cast(hidden_states, self.compute_dtype)
        hidden_states = op_inputs.convert_hidden_states(name, hidden_states, self.num_heads, self._size_per_head)
        return self._encode(hidden_states, valid_tokens(name, hidden_states, sequence_length, mask))

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = tuple(input_shape)
        return (self.num_layers, *shape) if self.all_layers else shape

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return None if self.all_layers else mask

    def options(self) -> dict[str, Any]:
        """The keyword-only arguments of the constructor."""
        return {name: getattr(self, name) for name in OPTIONS}

    def get_config(self) -> dict[str, Any]:
        sizes = {name: getattr(self, name) for name in ("num_layers", "num_heads", "intermediate_size")}
        return {**super().get_config(), **sizes, **self.options()}


def valid_tokens(function: str, hidden_states: Any, sequence_length: Any, mask: Any) -> Any:
    """What the op takes as sequence_length, int32 [B] or [B, S], for one or both of them; None if all tokens are valid."""
    given = [
        op_inputs.convert_sequence_length(function, value, hidden_states.shape)
        for value in (sequence_length, mask)
        if value is not None
    ]
    if len(given) < 2:
        return given[0] if given else None
    seq_len = tf.shape(hidden_states)[1]
    masks = [tf.sequence_mask(value, seq_len) if value.shape.rank == 1 else value != 0 for value in given]
    return tf.cast(masks[0] & masks[1], tf.int32)
