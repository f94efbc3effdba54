"""Finds and reads TensorFlow checkpoints, one variable at a time."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from tf_fastbert.checkpoint.errors import CheckpointError

INDEX_SUFFIX = ".index"


class Variable(NamedTuple):
    """What a checkpoint says of a variable before its values are read. `dtype` is a tf.DType."""

    dtype: Any
    shape: tuple[int, ...]


def _prefixes_in(directory: str) -> list[str]:
    return sorted(
        os.path.join(directory, name[: -len(INDEX_SUFFIX)])
        for name in os.listdir(directory)
        if name.endswith(INDEX_SUFFIX)
    )


def find_checkpoint(path: str) -> str:
    """Returns the checkpoint prefix that `path` means.

    Args:
      path: a prefix ("dir/bert_model.ckpt"), one of the files of a checkpoint ("....index", "....data-00000-of-00001"), or a
        directory: then the one its "checkpoint" file calls the latest, else bert_model.ckpt, else the only one there is.

    Raises:
      CheckpointError: there is no checkpoint there, or several and nothing says which is meant.
    """
    if os.path.isdir(path):
        return _find_in_directory(path)
    for prefix in (path, path.removesuffix(INDEX_SUFFIX), path.rpartition(".data-")[0]):
        if os.path.isfile(prefix + INDEX_SUFFIX):
            return prefix
    if os.path.isfile(path) and ".data-" not in path:
        return path  # TensorFlow's old one-file format, which the reader still takes.
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise CheckpointError(f"no checkpoint {path}: the directory {directory} does not exist")
    others = [os.path.basename(p) for p in _prefixes_in(directory)]
    hint = f"checkpoints in {directory}: {', '.join(others)}" if others else f"{directory} holds no checkpoint"
    raise CheckpointError(f"no checkpoint {path}: {path}{INDEX_SUFFIX} does not exist ({hint})")


def _find_in_directory(directory: str) -> str:
    import tensorflow as tf

    latest = tf.train.latest_checkpoint(directory)
    if latest:
        return latest
    prefixes = _prefixes_in(directory)
    usual = os.path.join(directory, "bert_model.ckpt")
    if usual in prefixes:
        return usual
    if len(prefixes) == 1:
        return prefixes[0]
    if not prefixes:
        raise CheckpointError(f"no checkpoint in directory {directory}: it holds no .index file")
    names = ", ".join(os.path.basename(p) for p in prefixes)
    raise CheckpointError(f"several checkpoints in directory {directory} ({names}): name the one you mean")


class Checkpoint:
    """An open checkpoint.

    Attributes:
      prefix: what find_checkpoint made of the path.
      variables: name -> Variable, sorted by name.

    Raises:
      CheckpointError: from the constructor and from `read`, naming the file, when it is missing, truncated or corrupt.
    """

    def __init__(self, path: str):
        import tensorflow as tf

        self.prefix = find_checkpoint(path)
        try:
            self._reader = tf.train.load_checkpoint(self.prefix)
            shapes = self._reader.get_variable_to_shape_map()
            dtypes = self._reader.get_variable_to_dtype_map()
        # By what is broken the reader raises different types; each means "unreadable".
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
            raise CheckpointError(self._damaged("cannot be opened", error)) from error
        self.variables = {name: Variable(dtypes[name], tuple(shapes[name])) for name in sorted(shapes)}

    def read(self, name: str) -> np.ndarray:
        """Returns the values of variable `name` in the type and shape they were stored in."""
        import tensorflow as tf

        if name not in self.variables:
            raise CheckpointError(f"checkpoint {self.prefix} has no variable {name}")
        try:
            return np.asarray(self._reader.get_tensor(name))
        except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
            raise CheckpointError(self._damaged(f"variable {name} cannot be read", error)) from error

    def _damaged(self, what: str, error: Exception) -> str:
        reason = " ".join(str(error).split())
        return f"checkpoint {self.prefix}: {what}; the file is truncated, corrupt or no checkpoint ({reason[:300]})"
