"""Finds the [B, S] mask behind Google's [B, F, T] attention mask.

create_attention_mask_from_input_mask keeps making its tensor, which carries the mask it was made from as an attribute. Where only
the op uses it, TensorFlow prunes the [B, F, T] tensor from the run.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

# An attribute, not a table beside: it lives exactly as long as the tensor, and does not keep the graph alive.
_TAG = "_tf_fastbert_to_mask"


def make_create_attention_mask(modeling: types.ModuleType) -> Callable[..., Any]:
    """modeling.create_attention_mask_from_input_mask, its result tagged with to_mask."""
    original = modeling.create_attention_mask_from_input_mask

    @functools.wraps(original)
    def create_attention_mask_from_input_mask(from_tensor: Any, to_mask: Any) -> Any:
        attention_mask = original(from_tensor, to_mask)
        setattr(attention_mask, _TAG, to_mask)
        return attention_mask

    return create_attention_mask_from_input_mask


def valid_tokens(attention_mask: Any) -> Any | None:
    """int32 [B, S], nonzero = valid, for a mask made by create_attention_mask_from_input_mask; None for any other."""
    to_mask = getattr(attention_mask, _TAG, None)
    return None if to_mask is None else as_int32(to_mask)


def as_int32(mask: Any) -> Any:
    """A mask of any type, as the ops take it."""
    mask = tf.convert_to_tensor(mask, name="to_mask")
    if mask.dtype == tf.int32:
        return mask
    return tf.cast(mask if mask.dtype == tf.bool else tf.not_equal(mask, tf.zeros([], mask.dtype)), tf.int32)
