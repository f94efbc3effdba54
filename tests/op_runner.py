"""Runs FastBertEncoder on what tests.random_configs makes, eagerly or in a TF1 graph, and Python in a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import tensorflow as tf

from tests.random_configs import Config, Inputs
from tf_fastbert.ops import LayerWeights, fast_bert_encoder

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def as_variables(inputs: Inputs) -> list[LayerWeights]:
    """The weights as resource variables (call it under tf.device)."""
    return [LayerWeights(*[tf.Variable(array) for array in layer]) for layer in inputs.layers]


def as_arrays(inputs: Inputs) -> list[LayerWeights]:
    """The weights as they are: the op cannot know that nobody changes them."""
    return [LayerWeights(*layer) for layer in inputs.layers]


def run_op(config: Config, inputs: Inputs, device: str, layers: list[LayerWeights] | None = None, **changes: Any) -> np.ndarray:
    """The op's output, computed eagerly. `changes` replace attributes."""
    with tf.device(device):
        layers = as_variables(inputs) if layers is None else layers
        output = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **{**config.attributes(), **changes})
    assert "GPU" not in device or "GPU" in output.device, output.device
    return output.numpy()


def new_session(graph: tf.Graph, allow_soft_placement: bool = False) -> tf.compat.v1.Session:
    """A session that refuses to move an op to another device than asked for, unless allowed."""
    return tf.compat.v1.Session(graph=graph, config=tf.compat.v1.ConfigProto(allow_soft_placement=allow_soft_placement))


def run_python(*arguments: str, **environment: str) -> str:
    """Runs this Python with `arguments`, with the repository importable. Returns stdout; fails with the output if it fails."""
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **environment}
    result = subprocess.run([sys.executable, *arguments], env=env, cwd=REPOSITORY, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, f"exit {result.returncode}\n{result.stdout[-4000:]}\n{result.stderr[-8000:]}"
    return result.stdout
