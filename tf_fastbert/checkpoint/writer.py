"""Writes TensorFlow checkpoints so that a half-written one is never seen."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping

from tf_fastbert.checkpoint.errors import CheckpointError


def write_checkpoint(prefix: str, tensors: Mapping[str, object]) -> None:
    """Writes `tensors` as a checkpoint (prefix.index, prefix.data-00000-of-00001), creating the directory if need be.

    The files are written in a temporary directory beside their place and then renamed, the data first and the index last: a
    reader looks for the index, so it finds the whole checkpoint or none. An older checkpoint of that name is replaced; its
    index goes first, so that it never stands beside data that isn't its own. On any error nothing is left behind.

    Args:
      prefix: path of the checkpoint, such as "out/bert_model.ckpt".
      tensors: variable name -> NumPy array or eager tensor, of any type a checkpoint can hold.

    Raises:
      CheckpointError: the place cannot be written, or `prefix` is a directory.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context

    if not os.path.basename(prefix) or os.path.isdir(prefix):
        raise CheckpointError(f"cannot write checkpoint {prefix}: it is a directory; give a name in it, such as "
                              f"{os.path.join(prefix, 'bert_model.ckpt')}")
    directory = os.path.dirname(os.path.abspath(prefix))
    temporary = None
    try:
        os.makedirs(directory, exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=".writing-", dir=directory)
        staged = os.path.join(temporary, os.path.basename(prefix))
        names = list(tensors)
        # Eagerly even in TF1 mode, which Google's scripts switch on for the whole process.
        with context.eager_mode(), tf.device("/CPU:0"):
            tf.raw_ops.SaveV2(
                prefix=tf.constant(staged),
                tensor_names=tf.constant(names),
                shape_and_slices=tf.constant([""] * len(names)),
                tensors=[tf.convert_to_tensor(tensors[name]) for name in names],
            )
        _move_into_place(temporary, directory, prefix + ".index")
    except (OSError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"cannot write checkpoint {prefix}: {reason[:300]}") from error
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)


def _move_into_place(temporary: str, directory: str, index: str) -> None:
    if os.path.exists(index):
        os.remove(index)
    # False sorts before True: the index comes last.
    for name in sorted(os.listdir(temporary), key=lambda n: n.endswith(".index")):
        os.replace(os.path.join(temporary, name), os.path.join(directory, name))
