"""Variables of a 16-bit model: stored in 16 bit, handed to code that asks for float32 as a cast."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

_STORED = "_tf_fastbert_stored"


def stored(value: Any) -> Any:
    """The 16-bit variable behind what tf.get_variable handed out as float32; anything else as it is."""
    return getattr(value, _STORED, value)


class _FloatxGetter:
    """A custom getter: a trainable float32 variable becomes one of `floatx`, and its value is handed out as float32.

    Asking for the type `floatx` itself gives the variable. Variables that are not trained (steps, metrics, optimizer slots) and
    other types pass through.
    """

    def __init__(self, floatx: str, inner: Callable[..., Any] | None) -> None:
        self.floatx = floatx
        self.inner = inner

    def __call__(
        self,
        getter: Callable[..., Any],
        name: str,
        *args: Any,
        dtype: Any = None,
        initializer: Any = None,
        trainable: Any = None,
        **kwargs: Any,
    ) -> Any:
        if self.inner is not None:
            getter = functools.partial(self.inner, getter)

        def get(dtype: Any, initializer: Any) -> Any:
            return getter(name, *args, dtype=dtype, initializer=initializer, trainable=trainable, **kwargs)

        asked = tf.float32 if dtype is None else tf.as_dtype(dtype)
        if asked != tf.float32 or trainable is False:
            return get(dtype, initializer)
        floatx = tf.as_dtype(self.floatx)
        variable = get(floatx, _in_type(initializer, floatx))
        value = tf.cast(variable, tf.float32)
        setattr(value, _STORED, variable)
        return value


def _in_type(initializer: Any, dtype: Any) -> Any:
    """An initializer that is a value must have the variable's type; functions are told the type."""
    if initializer is None or callable(initializer):
        return initializer
    if isinstance(initializer, tf.Tensor):
        return tf.cast(initializer, dtype)
    return np.asarray(initializer).astype(dtype.as_numpy_dtype)


def set_floatx(scope: tf.VariableScope, floatx: str) -> None:
    """Makes the trainable variables that are created in `scope` from now on be of type `floatx`.

    It stays set when BertModel's constructor is done, because the heads' variables are created after it.
    """
    getter = scope.custom_getter
    inner = getter.inner if isinstance(getter, _FloatxGetter) else getter
    scope.set_custom_getter(inner if floatx == "float32" else _FloatxGetter(floatx, inner))
