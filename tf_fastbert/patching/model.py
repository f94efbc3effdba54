"""Replacements around BertModel: its constructor and get_all_encoder_layers.

In 16 bit the encoder and the pooler run in 16 bit (for the embeddings see patching/embedding.py), and what the getters hand out
is cast to float32 when the constructor is done.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from tf_fastbert.patching import context, variables
from tf_fastbert.patching.layers import EncoderLayers
from tf_fastbert.patching.options import Options

_TENSORS = ("word_embedding_output", "embedding_output", "embedding_table", "sequence_output", "pooled_output")


def make_init(bert_model: Any, options: Options) -> Callable[..., None]:
    """BertModel.__init__, which tells transformer_model about is_training and, in 16 bit, hands out float32."""
    original = bert_model.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        call = signature.bind(self, *args, **kwargs)
        call.apply_defaults()
        is_training = bool(call.arguments["is_training"])
        if is_training and options.is_16_bit:
            raise ValueError(
                f"training in {options.floatx} is not supported: patch(..., floatx='float32') leaves training graphs to Google's "
                "own code, and tools/ckpt_type_convert.py converts the trained checkpoint"
            )
        variables.set_floatx(tf.get_variable_scope(), options.floatx)
        with context.building_model(is_training):
            original(*call.args, **call.kwargs)
        if options.is_16_bit:
            _hand_out_float32(self)

    return __init__


def _hand_out_float32(model: Any) -> None:
    # BertModel's sequence_output is the last of its layers; one cast serves both.
    last = model.all_encoder_layers[-1]
    model.all_encoder_layers = model.all_encoder_layers.cast(tf.float32)
    for name in _TENSORS:
        tensor = getattr(model, name, None)  # google-research/bert has no word_embedding_output
        if tensor is last:
            setattr(model, name, model.all_encoder_layers[-1])
        elif tensor is not None:
            setattr(model, name, tf.cast(tensor, tf.float32))


def make_get_all_encoder_layers(bert_model: Any) -> Callable[[Any], Any]:
    """BertModel.get_all_encoder_layers, which gives a real list."""
    original = bert_model.get_all_encoder_layers

    @functools.wraps(original)
    def get_all_encoder_layers(self: Any) -> Any:
        layers = original(self)
        return layers.as_list() if isinstance(layers, EncoderLayers) else layers

    return get_all_encoder_layers
