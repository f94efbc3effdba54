"""The checkpoint that is exported: checked as the wrappers check it, read, and cast where another type was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from tf_fastbert.checkpoint import Checkpoint, CheckpointError
from tf_fastbert.checkpoint.cast import cast_values
from tf_fastbert.export.settings import ExportError
from tf_fastbert.quantization import names
from tf_fastbert.wrap import checkpoints
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.inputs import BertSizes
from tf_fastbert.wrap.quantized import Wanted
from tf_fastbert.wrap.scripts import RUN_CLASSIFIER, RUN_SQUAD, Script

_POOLER = ("bert/pooler/dense/kernel", "bert/pooler/dense/bias")


class Model(NamedTuple):
    """A checked checkpoint's variables.

    Attributes:
      prefix: of the checkpoint.
      weights: name -> values; float ones of type `floatx`, but amaxLists, which stay float32.
      floatx: "float32", "float16" or "bfloat16".
      num_labels: of a classifier, else None.
    """

    prefix: str
    weights: dict[str, np.ndarray]
    floatx: str
    num_labels: int | None


def read(
    path: str,
    sizes: BertSizes,
    task: str,
    *,
    floatx: str | None,
    int8_mode: int,
    fp8: bool,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> Model:
    """Reads what `task` needs of a checkpoint.

    Args:
      floatx: the type to convert to; None: as stored.
      progress: wraps the list of names to iterate over, for a progress bar.

    Raises:
      ExportError: the checkpoint is missing, damaged or incomplete, not of the asked kind, or does not fit the configuration.
    """
    wanted = Wanted(int8_mode, fp8, None)
    try:
        checkpoint = Checkpoint(path)
        embeddings = checkpoint.variables.get("bert/embeddings/word_embeddings")
        stored = "float32" if embeddings is None else embeddings.dtype.name
        num_labels = _num_labels(checkpoint) if task == "classifier" else None
        script = _script(task, checkpoint)
        checkpoints.check_for_inference(
            path, "--init_checkpoint", script, sizes, num_labels, stored, restored=False, wanted=wanted
        )
        needed = [
            *checkpoints.bert_variables(sizes, pooler=script.pooler),
            *script.head(sizes.encoder.hidden_size, num_labels),
            *wanted.variables(sizes.encoder),
        ]
        target = floatx or stored
        weights = {name: _read(checkpoint, name, target) for name in progress(needed)}
    except CheckpointError as error:
        raise ExportError(f"--init_checkpoint: {error}") from error
    except WrapError as error:
        raise ExportError(str(error)) from error
    return Model(checkpoint.prefix, weights, target, num_labels)


def _num_labels(checkpoint: Checkpoint) -> int:
    head = checkpoint.variables.get("output_weights")
    # What is missing or has a wrong shape is reported with all other variables.
    return head.shape[0] if head is not None and len(head.shape) == 2 else 2


def _script(task: str, checkpoint: Checkpoint) -> Script:
    """What Google's script for the task would need."""
    if task == "squad":
        return RUN_SQUAD
    if task == "classifier":
        return RUN_CLASSIFIER
    # An encoder has a pooled output if the checkpoint has a pooler.
    has_pooler = all(name in checkpoint.variables for name in _POOLER)
    return Script(name="encoder", required=(), phases={}, outputs=(), pooler=has_pooler)


def _read(checkpoint: Checkpoint, name: str, floatx: str) -> np.ndarray:
    import tensorflow as tf

    values: Any = checkpoint.read(name)
    if not checkpoint.variables[name].dtype.is_floating or name.endswith(names.AMAX_LIST):
        return values
    return cast_values(checkpoint.prefix, name, values, tf.as_dtype(floatx))
