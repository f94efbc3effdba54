"""Keras 2 behind tf.layers, which Google's pooler uses (tf.layers.dense)."""

from __future__ import annotations

import importlib.util
import os


def tensorflow_version() -> tuple[int, int]:
    """(major, minor) of the installed TensorFlow, found without importing it.

    Raises:
      ImportError: no TensorFlow is installed.
    """
    import importlib.metadata

    for name in ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly"):
        try:
            major, minor = importlib.metadata.version(name).split(".")[:2]
        except importlib.metadata.PackageNotFoundError:
            continue
        return int(major), int(minor)
    # Built from source or put together by hand: there is only the module to ask.
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise ImportError("TensorFlow is not installed: pip install tensorflow (or tensorflow-cpu)") from error
    major, minor = tf.__version__.split(".")[:2]
    return int(major), int(minor)


def install() -> None:
    """Chooses Keras 2 where TensorFlow's own Keras is Keras 3 (TF >= 2.16). Takes effect if Keras is not loaded yet.

    Raises:
      ImportError: tf_keras is needed and missing.
    """
    version = tensorflow_version()
    if version < (2, 16):
        return
    if importlib.util.find_spec("tf_keras") is None:
        raise ImportError(
            f"Google's BERT uses tf.layers, which TensorFlow {version[0]}.{version[1]} has only with the package tf_keras: "
            f"pip install --no-deps 'tf_keras=={version[0]}.{version[1]}.*' (without --no-deps pip may put another TensorFlow "
            "over yours)"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


def check() -> None:
    """Sees that tf.layers really is there.

    Raises:
      RuntimeError: Keras 3 was loaded before install() had its say.
    """
    import tensorflow.compat.v1 as tf

    try:
        tf.layers.dense  # noqa: B018 (loads it)
    except AttributeError as error:
        raise RuntimeError(
            "tf.layers is missing, because Keras 3 was loaded before tf_fastbert.compat.install(): call install() before "
            "anything touches tf.keras, or set TF_USE_LEGACY_KERAS=1 in the environment"
        ) from error
