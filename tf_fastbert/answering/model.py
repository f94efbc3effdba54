"""The model as one callable: token ids -> start and end logits."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from tf_fastbert import freezing, patching
from tf_fastbert.answering.model_files import ModelFiles
from tf_fastbert.wrap.errors import WrapError

# Google's create_model builds a pooler that SQuAD's head does not use; checkpoints may lack it.
_UNUSED = "/pooler/"

# int32 [batch, seq_len] token ids, mask, segment ids -> float32 [batch, seq_len] start and end logits
Model = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def build(
    files: ModelFiles,
    run_squad: types.ModuleType,
    *,
    int8_mode: int = 0,
    precision: str = "default",
    remove_padding: bool = True,
    stock: bool = False,
) -> Model:
    """Builds Google's create_model and restores the checkpoint, once. Any batch and sequence length can be called.

    The op's graph is frozen: its weights are constants. Google's own is left as its script runs it: of constants TensorFlow on a
    CPU makes fused kernels whose results differ from Google's by some 1e-3.

    Args:
      run_squad: Google's module.
      int8_mode, precision, remove_padding: as in tf_fastbert.patch.
      stock: Google's own encoder instead of the op; float32 checkpoints only.

    Returns:
      A callable, which threads may share.

    Raises:
      WrapError: `stock` on a checkpoint that Google's encoder cannot load.
    """
    if stock and (files.floatx != "float32" or int8_mode or precision == "fp8"):
        raise WrapError(f"{files.checkpoint}: Google's own encoder needs a float32 checkpoint that is not quantized")
    patched: Any = contextlib.nullcontext()
    if not stock:
        patched = patching.patched(
            run_squad.modeling,
            floatx=files.floatx,
            remove_padding=remove_padding,
            precision=precision,
            int8_mode=int8_mode,
            run_squad=run_squad,
        )
    config = tf.ConfigProto()
    config.gpu_options.allow_growth = True
    with tf.Graph().as_default():
        inputs = [tf.placeholder(tf.int32, [None, None], name) for name in ("input_ids", "input_mask", "segment_ids")]
        with patched:
            bert_config = run_squad.modeling.BertConfig.from_json_file(files.config_file)
            logits = run_squad.create_model(bert_config, False, *inputs, False)
        saver = tf.train.Saver([variable for variable in tf.global_variables() if _UNUSED not in variable.name])
        session = tf.Session(config=config)
        saver.restore(session, files.checkpoint)
        if stock:
            return session.make_callable(tuple(logits), feed_list=inputs)
        with session:
            return freezing.freeze_session(session, tuple(logits), inputs)
