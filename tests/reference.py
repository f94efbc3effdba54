"""BERT's encoder in NumPy float64, written apart from the op: what the tests compare with. No TensorFlow in it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_STEPS = 512
_GRID = np.arange(-6 * _STEPS, 6 * _STEPS + 1) / _STEPS
_ERF_ON_GRID = np.array([math.erf(x) for x in _GRID])


def _erf(x: np.ndarray) -> np.ndarray:
    """erf to 1e-11, by Taylor's cubic around the nearest point of a grid. NumPy has none, and math.erf is not vectorized."""
    x = np.clip(x, -6.0, 6.0)
    index = np.rint(x * _STEPS).astype(np.int64) + 6 * _STEPS
    x0 = _GRID[index]
    d = x - x0
    slope = 2.0 / math.sqrt(math.pi) * np.exp(-x0 * x0)
    return _ERF_ON_GRID[index] + slope * d * (1.0 + d * (-x0 + d * (2.0 * x0 * x0 - 1.0) / 3.0))


def _activate(x: np.ndarray, activation: str) -> np.ndarray:
    if activation == "relu":
        return np.maximum(x, 0.0)
    if activation == "gelu_erf":
        return 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0)))
    if activation == "gelu_tanh":
        return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    raise ValueError(activation)


def _layer_norm(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float) -> np.ndarray:
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def _attention(x: np.ndarray, weights: dict[str, np.ndarray], num_heads: int) -> np.ndarray:
    """x: [n, H], the valid tokens of one sequence. Returns [n, H], before the output projection."""
    tokens, hidden_size = x.shape
    heads = []
    for name in ("query", "key", "value"):
        projected = x @ weights[f"{name}_kernel"] + weights[f"{name}_bias"]
        heads.append(projected.reshape(tokens, num_heads, -1).transpose(1, 0, 2))
    query, key, value = heads
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(hidden_size // num_heads)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return (scores @ value).transpose(1, 0, 2).reshape(tokens, hidden_size)


# (field of quantization, input of a matrix product [tokens, width]) -> what the product reads instead.
Hook = Callable[[str, np.ndarray], np.ndarray]


def _layer(
    x: np.ndarray, w: dict[str, np.ndarray], num_heads: int, epsilon: float, activation: str, layer_norm: str, hook: Hook
) -> np.ndarray:
    def norm(name: str, y: np.ndarray) -> np.ndarray:
        return _layer_norm(y, w[f"{name}_layer_norm_gamma"], w[f"{name}_layer_norm_beta"], epsilon)

    def attention(y: np.ndarray) -> np.ndarray:
        context = hook("context", _attention(hook("attention_input", y), w, num_heads))
        return context @ w["attention_output_kernel"] + w["attention_output_bias"]

    def feed_forward(y: np.ndarray) -> np.ndarray:
        inner = _activate(hook("intermediate_input", y) @ w["intermediate_kernel"] + w["intermediate_bias"], activation)
        return hook("output_input", inner) @ w["output_kernel"] + w["output_bias"]

    if layer_norm == "post":
        x = norm("attention", x + attention(x))
        return norm("output", x + feed_forward(x))
    if layer_norm == "pre":
        x = x + attention(norm("attention", x))
        return x + feed_forward(norm("output", x))
    raise ValueError(layer_norm)


def encoder_float64(
    hidden: np.ndarray,
    mask_or_lengths: np.ndarray,
    layers: Sequence[Any],
    num_heads: int,
    epsilon: float = 1e-12,
    activation: str = "gelu_tanh",
    layer_norm: str = "post",
    all_layers: bool = False,
    hook: Callable[[int, str, np.ndarray], np.ndarray] = lambda layer, field, values: values,
) -> np.ndarray:
    """The encoder's output in float64; rows of tokens that are not valid are zero and never read.

    Args:
      hidden: [B, S, H], any float type.
      mask_or_lengths: [B] numbers of valid tokens, or [B, S], nonzero = valid.
      layers: objects with a NumPy array for each of the fields of tf_fastbert.LayerWeights.
      hook: called with the layer's index, one of attention_input, context, intermediate_input and output_input, and that input of
        a matrix product, [tokens, width]; returns what the product reads.

    Returns:
      [B, S, H], or [len(layers), B, S, H] if all_layers.
    """
    batch, seq_len, _ = hidden.shape
    mask = np.asarray(mask_or_lengths)
    mask = mask != 0 if mask.ndim == 2 else np.arange(seq_len)[None, :] < mask[:, None]
    weights = [{name: np.asarray(array).astype(np.float64) for name, array in layer._asdict().items()} for layer in layers]
    outputs = np.zeros((len(layers), *hidden.shape))
    for b in range(batch):
        x = hidden[b, mask[b]].astype(np.float64)
        if not len(x):
            continue
        for index, w in enumerate(weights):
            x = _layer(x, w, num_heads, epsilon, activation, layer_norm, functools.partial(hook, index))
            outputs[index, b, mask[b]] = x
    return outputs if all_layers else outputs[-1]
