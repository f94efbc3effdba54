"""Which activation function means which attribute of the op."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def gelu_erf(x: Any) -> Any:
    """GELU by the error function, as Hugging Face's BERT models have it; Google's modeling.gelu is the tanh form."""
    return tf.nn.gelu(x, approximate=False)


_BY_NAME = {"gelu_erf": gelu_erf}


def make_get_activation(modeling: types.ModuleType) -> Callable[[Any], Any]:
    """modeling.get_activation, with "gelu_erf" added to the names that bert_config.json's hidden_act can have."""
    original = modeling.get_activation

    @functools.wraps(original)
    def get_activation(activation_string: Any) -> Any:
        if isinstance(activation_string, str) and activation_string.lower() in _BY_NAME:
            return _BY_NAME[activation_string.lower()]
        return original(activation_string)

    return get_activation


def op_activation(modeling: types.ModuleType, function: Any) -> str:
    """The op's attribute `activation` for a function given as intermediate_act_fn.

    Raises:
      ValueError: the op does not have it.
    """
    known = ((modeling.gelu, "gelu_tanh"), (gelu_erf, "gelu_erf"), (tf.nn.gelu, "gelu_erf"), (tf.nn.relu, "relu"))
    for candidate, name in known:
        if function is candidate:
            return name
    called = "None (linear)" if function is None else getattr(function, "__qualname__", repr(function))
    raise ValueError(
        f"the activation {called} is not supported by tf_fastbert; supported in bert_config.json as hidden_act: gelu, gelu_erf, "
        f"relu; as intermediate_act_fn: {modeling.__name__}.gelu, tf.nn.gelu, tf.nn.relu"
    )
