"""What Google's BERT scripts need on TensorFlow versions that dropped it.

    import tf_fastbert.compat
    tf_fastbert.compat.install()
    from bert import run_squad          # PyPI bert-tensorflow, or a copy of google-research/bert: `import run_squad`

or, with nothing edited at all:

    python -m tf_fastbert.compat bert.run_squad --vocab_file=... --do_predict=true ...

`install()` is for the whole process: it turns TensorFlow 2 behaviour off, as these TF1 programs expect. Nothing else in
tf_fastbert imports this package.
"""

from __future__ import annotations

import threading

__all__ = ["install"]

_lock = threading.Lock()
_installed = False


def install() -> None:
    """Makes Google's BERT modules importable and runnable in this process. Calling it again does nothing.

    Call it at the start of the program, before any of Google's modules is imported.

    It gives `tensorflow.contrib` (the few functions that BERT uses), `tf.compat.v1.estimator` (the real one of the
    tensorflow-estimator package, where TensorFlow no longer has it), Keras 2 for `tf.layers`, TF1 behaviour, and an import
    hook through which the `import tensorflow as tf` of google-research/bert means `tensorflow.compat.v1`.

    Raises:
      ImportError: TensorFlow, tensorflow-estimator or tf_keras is missing; the message says what to install.
      RuntimeError: it is too late: Keras 3 or one of Google's TF1 modules is already loaded.
    """
    global _installed
    with _lock:
        if _installed:
            return
        from tf_fastbert.compat import contrib, estimator, legacy_keras, source

        legacy_keras.install()
        import tensorflow.compat.v1 as tf

        tf.disable_v2_behavior()
        legacy_keras.check()
        estimator.install()
        contrib.install()
        source.install()
        _installed = True
