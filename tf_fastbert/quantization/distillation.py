"""Distillation: in training the answers of a float teacher pull the quantized model's.

Around Google's own training code: create_model builds the teacher beside the model, create_optimizer adds the difference to the
loss. The teacher's variables are local ones (not trained, not saved), below "teacher/", loaded from its own checkpoint.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow.compat.v1 as tf

from tf_fastbert.checkpoint import Checkpoint, CheckpointError
from tf_fastbert.patching import context

_LOSSES = "tf_fastbert/distillation_losses"
_SCOPE = "teacher"


@contextlib.contextmanager
def distilled(script: Any, teacher_checkpoint: str | os.PathLike, loss_scale: float) -> Iterator[None]:
    """Training graphs that `script` builds inside have a teacher.

    The loss becomes the script's own, plus loss_scale times the Kullback-Leibler divergence of the model's probabilities from the
    teacher's: of start and end positions (run_squad), or of the labels (run_classifier). Google's optimizer clips gradients and
    divides by their size, so that with a large scale the teacher alone counts.

    Args:
      script: Google's run_squad or run_classifier module, patched for quant_mode.
      teacher_checkpoint: float32, of the same model and task.

    Raises:
      CheckpointError: while the graph is built, if the teacher lacks a variable.
    """
    create_model, create_optimizer = script.create_model, script.optimization.create_optimizer
    script.create_model = _with_teacher(create_model, os.fspath(teacher_checkpoint))
    script.optimization.create_optimizer = _with_losses(create_optimizer, loss_scale)
    try:
        yield
    finally:
        script.create_model, script.optimization.create_optimizer = create_model, create_optimizer


def _with_teacher(create_model: Callable[..., Any], checkpoint: str) -> Callable[..., Any]:
    signature = inspect.signature(create_model)

    @functools.wraps(create_model)
    def create_model_and_teacher(*args: Any, **kwargs: Any) -> Any:
        outputs = create_model(*args, **kwargs)
        call = signature.bind(*args, **kwargs)
        if not call.arguments["is_training"]:
            return outputs
        mask = call.arguments["input_mask"]
        call.arguments["is_training"] = False
        with tf.variable_scope(_SCOPE, custom_getter=_local_variable), context.building_teacher():
            targets = create_model(*call.args, **call.kwargs)
        _initialize(checkpoint)
        for logits, target in zip(_logits(outputs), _logits(targets), strict=True):
            # Positions of padding say nothing; labels (rank 2 too, but of another width) all do.
            if len(outputs) == 2:
                logits, target = (tf.where(tf.equal(mask, 0), tf.fill(tf.shape(x), -10000.0), x) for x in (logits, target))
            tf.add_to_collection(_LOSSES, divergence(tf.stop_gradient(target), logits))
        return outputs

    return create_model_and_teacher


def _logits(outputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """run_squad's create_model returns start and end logits; run_classifier's loss, losses by example, logits, probabilities."""
    return outputs if len(outputs) == 2 else (outputs[2],)


def divergence(target: Any, logits: Any) -> Any:
    """The mean over the batch of KL(softmax(target), softmax(logits)); both float32 [batch, classes]."""
    log_p, log_q = tf.nn.log_softmax(target), tf.nn.log_softmax(logits)
    return tf.reduce_mean(tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), axis=-1))


def _local_variable(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
    return getter(name, *args, **{**kwargs, "trainable": False, "collections": [tf.GraphKeys.LOCAL_VARIABLES]})


def _initialize(path: str) -> None:
    checkpoint = Checkpoint(path)
    variables = {}
    for variable in tf.local_variables(scope=f"{_SCOPE}/"):
        name = variable.op.name.removeprefix(f"{_SCOPE}/")
        if name not in checkpoint.variables:
            raise CheckpointError(f"the teacher {checkpoint.prefix} has no variable {name}")
        variables[name] = variable
    tf.train.init_from_checkpoint(checkpoint.prefix, variables)


def _with_losses(create_optimizer: Callable[..., Any], loss_scale: float) -> Callable[..., Any]:
    @functools.wraps(create_optimizer)
    def create_optimizer_with_losses(loss: Any, *args: Any, **kwargs: Any) -> Any:
        return create_optimizer(loss + loss_scale * tf.add_n(tf.get_collection(_LOSSES)), *args, **kwargs)

    return create_optimizer_with_losses
