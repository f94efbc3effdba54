"""Keras layers: BertEncoder ([B, S, H] -> [B, S, H]) and Bert (token ids -> sequence output and pooled output).

    from tf_fastbert.keras import Bert
    bert = Bert.from_checkpoint("uncased_L-12_H-768_A-12")

They are layers of the package `keras`, which is Keras 3 beside TensorFlow 2.16 and later, and need its TensorFlow backend. For
models of `tf_keras` (and of tf.keras under TF_USE_LEGACY_KERAS=1) there is tf_fastbert.tf_keras.
"""

from __future__ import annotations

import keras

from tf_fastbert.layers.make import make_layers

__all__ = ["Bert", "BertEncoder"]

if not keras.__version__.startswith("3."):
    raise ImportError(f"tf_fastbert.keras needs Keras 3, but keras is {keras.__version__}; for tf_keras use tf_fastbert.tf_keras")
if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"tf_fastbert.keras needs Keras' TensorFlow backend, but the backend is {keras.config.backend()}: set the environment "
        "variable KERAS_BACKEND=tensorflow before keras is imported"
    )

BertEncoder, Bert = make_layers(keras, __name__, {"autocast": False})
