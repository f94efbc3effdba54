"""The layers of tf_fastbert.keras for models of `tf_keras` (Keras 2), and of tf.keras under TF_USE_LEGACY_KERAS=1."""

from __future__ import annotations

import tf_keras

from tf_fastbert.layers.make import make_layers

__all__ = ["Bert", "BertEncoder"]

BertEncoder, Bert = make_layers(tf_keras, __name__, {"experimental_autocast": False})
