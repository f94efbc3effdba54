"""Puts the op into the encoders of a model of tf-models-official, and takes it out again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_MARK = "_tf_fastbert_patched"


def patch_tf_models(model: Any, *, remove_padding: bool = True, precision: str = "default") -> int:
    """From now on the BERT encoders of `model` run the op when they are called for inference. Returns how many there are.

    An encoder keeps its class, variables, inputs and outputs; a checkpoint that is loaded later is used. In training (training=True,
    model.fit) it runs its own layers, gradients and dropout included. Rows of padding tokens are zero in its outputs, where the
    stock encoder leaves values. Graphs that exist already stay as they are: a tf.function that called the model before must be
    traced again (`model`'s own predict and evaluate are).

    Args:
      model: an official.nlp.modeling.networks.BertEncoder or BertEncoderV2, or a model or layer of tf_keras that contains some.
        float32; for 16 bit see tf_models.to_layer.
      remove_padding, precision: see tf_fastbert.fast_bert_encoder.

    Raises:
      ValueError: there is no such encoder in it, or one is configured in a way that the op does not compute (the message names
        the option); then nothing is patched.
      ImportError: see tf_fastbert.ops.load_library.
    """
    from tf_fastbert import ops
    from tf_fastbert.tf_models import fast_call, read

    ops.load_library()
    encoders = [part for part in _parts(model) if read.is_encoder(part)]
    if not encoders:
        raise ValueError(
            f"{getattr(model, 'name', model)} ({type(model).__name__}) is no BertEncoder or BertEncoderV2 of tf-models-official and "
            "contains none"
        )
    calls = []
    for encoder in encoders:
        build(encoder)
        calls.append(fast_call.FastCall(encoder, read.describe(encoder), remove_padding, precision))
    for encoder, call in zip(encoders, calls, strict=True):
        _replace_call(encoder, call)
    _forget_graphs(model)
    return len(encoders)


def unpatch_tf_models(model: Any) -> int:
    """Undoes patch_tf_models on the encoders in `model`. Returns how many were patched; does nothing to others."""
    patched = [part for part in _parts(model) if _MARK in vars(part)]
    for encoder in patched:
        for name in ("call", _MARK):
            del vars(encoder)[name]
    _forget_graphs(model)
    return len(patched)


@contextlib.contextmanager
def patched_tf_models(model: Any, **options: Any) -> Iterator[Any]:
    """`with patched_tf_models(model): ...`, with the options of patch_tf_models. Gives the model."""
    patch_tf_models(model, **options)
    try:
        yield model
    finally:
        unpatch_tf_models(model)


def _parts(model: Any) -> list[Any]:
    return [model, *model.submodules] if isinstance(model, tf.Module) else []


def build(encoder: Any) -> None:
    """Gives BertEncoderV2 its variables, which come with its first call."""
    if not encoder.transformer_layers[-1].built:
        token = tf.zeros([1, 1], tf.int32)
        encoder({"input_word_ids": token, "input_mask": token, "input_type_ids": token})


def _replace_call(encoder: Any, call: Any) -> None:
    from tf_fastbert.tf_models import fast_call

    stock = type(encoder).call.__get__(encoder)
    takes_training = hasattr(encoder, "predict")  # BertEncoder is a Model; BertEncoderV2, a Layer, hears of training from Keras

    def original(inputs: Any, training: Any) -> Any:
        return stock(inputs, training=training) if takes_training else stock(inputs)

    dispatch = fast_call.Dispatch(original, call)

    @tf.autograph.experimental.do_not_convert
    def replaced(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        del mask  # Keras' masks, which tf-models does not use
        return dispatch(inputs) if training is None else dispatch(inputs, training=training)

    # Not setattr: Keras would track it. An instance's `call` comes before its class's.
    vars(encoder).update({"call": replaced, _MARK: True})


def _forget_graphs(model: Any) -> None:
    """The graphs that Keras made for predict and evaluate, in `model` and the models in it."""
    for part in _parts(model):
        for name in ("predict_function", "test_function", "train_function"):
            if getattr(part, name, None) is not None:
                setattr(part, name, None)
