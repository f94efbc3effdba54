"""Has Google's scripts load the quantizers' ranges too, which are not among the trainable variables that they ask for."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from tf_fastbert.quantization import names


def make_get_assignment_map(modeling: types.ModuleType) -> Callable[..., Any]:
    """modeling.get_assignment_map_from_checkpoint, which adds the ranges of the graph to the variables it is given."""
    original = modeling.get_assignment_map_from_checkpoint

    @functools.wraps(original)
    def get_assignment_map_from_checkpoint(tvars: Any, init_checkpoint: str) -> Any:
        ranges = [variable for variable in tf.global_variables() if names.is_range(variable.op.name)]
        return original([*tvars, *ranges], init_checkpoint)

    return get_assignment_map_from_checkpoint
