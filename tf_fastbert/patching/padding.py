"""Keeps padding out of the n best answers of SQuAD.

Google's write_predictions takes the n_best_size highest start and end logits of all positions, and drops those of padding only
afterwards. Google's encoder computes rows for padding too, which a trained model scores low. Ours gives zero there, so that a
padding position's logit is the head's bias; where the model is unsure, hundreds of such positions are above the best token, and
the answer would be "empty" (2 of the 1,190 questions of XQuAD). So their logits are set far below all others.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from tf_fastbert.patching import mask, span_head

# Google's own constant for positions that must not win (in its attention masks).
_LOWEST = -10000.0
_NEEDED = ("is_training", "input_mask")


def check_module(run_squad: Any) -> None:
    """Sees that make_create_model can do with `run_squad`.

    Raises:
      TypeError, ValueError: it is no module, or has no create_model with the arguments of Google's.
    """
    if not isinstance(run_squad, types.ModuleType):
        raise TypeError(f"expected Google's run_squad module, not {run_squad!r}")
    create_model = getattr(run_squad, "create_model", None)
    if not callable(create_model) or not inspect.signature(create_model).parameters.keys() >= set(_NEEDED):
        raise ValueError(
            f"{run_squad.__name__} is not Google's run_squad module: it has no create_model with the arguments "
            f"{', '.join(_NEEDED)}"
        )


def make_create_model(run_squad: types.ModuleType) -> Callable[..., tuple[Any, Any]]:
    """run_squad.create_model, which gives padding the lowest logits (float32 [batch, seq_len]), unless it trains."""
    original = run_squad.create_model
    signature = inspect.signature(original)

    @functools.wraps(original)
    def create_model(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        start_logits, end_logits = original(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        if given["is_training"]:
            return start_logits, end_logits
        valid = mask.as_int32(given["input_mask"])
        by_one_op = span_head.logits(start_logits, end_logits, valid, _LOWEST)
        if by_one_op is not None:
            return by_one_op
        padding = tf.equal(valid, 0)
        return tf.where_v2(padding, _LOWEST, start_logits), tf.where_v2(padding, _LOWEST, end_logits)

    return create_model
