"""The layers of tf_fastbert.keras for models of `tf_keras` (Keras 2), and of tf.keras under TF_USE_LEGACY_KERAS=1."""

from __future__ import annotations

import tf_keras

from tf_fastbert.layers.bert import BertMixin
from tf_fastbert.layers.encoder import EncoderMixin

__all__ = ["Bert", "BertEncoder"]


@tf_keras.saving.register_keras_serializable(package="tf_fastbert")
class BertEncoder(EncoderMixin, tf_keras.layers.Layer):
    __doc__ = EncoderMixin.__doc__
    no_autocast = {"experimental_autocast": False}


@tf_keras.saving.register_keras_serializable(package="tf_fastbert")
class Bert(BertMixin, tf_keras.layers.Layer):
    __doc__ = BertMixin.__doc__
    no_autocast = {"experimental_autocast": False}
    encoder_class = BertEncoder
