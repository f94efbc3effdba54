"""A SavedModel of tools/export_saved_model.py as one callable, in a TF1 session: Google's modules turn TensorFlow 2 off."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tf_fastbert.batch import BatchError
from tf_fastbert.export.settings import ExportError, Settings, read_settings

# int32 [batch, seq_len] token ids, mask, segment ids -> the outputs of OUTPUTS[task]
Model = Callable[[np.ndarray, np.ndarray, np.ndarray], list[np.ndarray]]

OUTPUTS = {"squad": ("start_logits", "end_logits"), "classifier": ("probabilities",)}
_INPUTS = ("input_ids", "input_mask", "segment_ids")


def settings_of(folder: str) -> Settings:
    """The settings of the SavedModel in `folder`.

    Raises:
      BatchError: it is none of ours, or its task has no answers.
    """
    try:
        settings = read_settings(folder)
    except ExportError as error:
        raise BatchError(f"--model: {error}") from error
    if settings.task not in OUTPUTS:
        raise BatchError(f"--model={folder} is for --task={settings.task}, which has no answers: export one for squad or classifier")
    return settings


def load(folder: str, settings: Settings, threads: int = 0) -> Model:
    """Loads the SavedModel.

    Args:
      threads: how many TensorFlow may use; 0: as many as there are cores.

    Returns:
      A callable, which threads may share.
    """
    import tensorflow.compat.v1 as tf

    from tf_fastbert import ops

    ops.load_library()
    config = tf.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1 if threads == 1 else 0)
    config.gpu_options.allow_growth = True
    graph = tf.Graph()
    session = tf.Session(graph=graph, config=config)
    with graph.as_default(), _quiet(tf):
        loaded = tf.saved_model.load(session, ["serve"], folder)
        signature = loaded.signature_def["serving_default"]
        call = session.make_callable(
            [graph.get_tensor_by_name(signature.outputs[name].name) for name in OUTPUTS[settings.task]],
            feed_list=[graph.get_tensor_by_name(signature.inputs[name].name) for name in _INPUTS],
        )
    return call


@contextlib.contextmanager
def _quiet(tf: Any) -> Iterator[None]:
    """Without the advice to load SavedModels in TensorFlow 2's way."""
    level = tf.logging.get_verbosity()
    tf.logging.set_verbosity(tf.logging.ERROR)
    try:
        yield
    finally:
        tf.logging.set_verbosity(level)
