"""The quantized encoder in NumPy, with integer arithmetic, written from the definition and apart from the op and the training
graph.

x becomes clamp(round(x * 127 / amax), -127, 127), ties to even; a product is an int32 sum of int8 products, times one float for
each output channel, plus the bias. The attention, LayerNorm and activations are float32. In mode 2 the residual connections
carry the quantized inputs of the sublayers, and what is added to them was rounded before its bias. fp8: E4M3 in place of int8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from tests.reference import _activate, _layer_norm


def quantize(x: np.ndarray, amax: float) -> np.ndarray:
    """int8."""
    return np.clip(np.rint(np.asarray(x, np.float32) * np.float32(127 / amax)), -127, 127).astype(np.int8)


def round_e4m3(x: np.ndarray, amax: float) -> np.ndarray:
    """float32 values that are E4M3 numbers times amax / 448."""
    scale = np.float32(448 / amax)
    scaled = np.clip(np.asarray(x, np.float32) * scale, -448, 448)
    return scaled.astype(ml_dtypes.float8_e4m3fn).astype(np.float32) / scale


class _Layer:
    def __init__(self, weights: Mapping[str, np.ndarray], ranges: Any, mode: str, num_heads: int, activation: str) -> None:
        self.w, self.r, self.a = weights, ranges, ranges.activations
        self.mode, self.num_heads, self.activation = mode, num_heads, activation

    def product(self, x: np.ndarray, field: str, amax: float) -> np.ndarray:
        """x times the kernel, float32 [n, out], without the bias."""
        kernel, kernel_amax = self.w[f"{field}_kernel"], self.r.kernels[f"{field}_kernel"]
        if self.mode == "fp8":
            return round_e4m3(x, amax) @ round_e4m3(kernel, kernel_amax.max())
        assert kernel.dtype == np.int8
        total = quantize(x, amax).astype(np.int32) @ kernel.astype(np.int32)
        return total.astype(np.float32) * (np.float32(amax / 127) * kernel_amax / np.float32(127))

    def residual(self, x: np.ndarray, field: str) -> np.ndarray:
        return quantize(x, self.a[field]) * np.float32(self.a[field] / 127) if self.mode == "int8_mode2" else x

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[n, H] -> [n, H], the valid tokens of one sequence."""
        a, w, tokens = self.a, self.w, len(x)
        heads = [
            (self.product(x, name, a["attention_input"]) + w[f"{name}_bias"]).reshape(tokens, self.num_heads, -1).swapaxes(0, 1)
            for name in ("query", "key", "value")
        ]
        scores = heads[0] @ heads[1].swapaxes(1, 2) / np.float32(math.sqrt(heads[0].shape[-1]))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        context = (scores / scores.sum(-1, keepdims=True) @ heads[2]).swapaxes(0, 1).reshape(tokens, -1)
        x = self.add(x, "attention_input", context, "attention_output", a["context"])
        inner = _activate(self.product(x, "intermediate", a["intermediate_input"]) + w["intermediate_bias"], self.activation)
        return self.add(x, "intermediate_input", inner, "output", a["output_input"])

    def add(self, x: np.ndarray, x_field: str, branch: np.ndarray, field: str, amax: float) -> np.ndarray:
        """LN(x + product(branch) + bias)."""
        total = self.product(branch, field, amax)
        if self.mode == "int8_mode2":
            total = quantize(total, self.a[f"{field}_sum"]) * np.float32(self.a[f"{field}_sum"] / 127)
        norm = "attention" if field == "attention_output" else "output"
        y = self.residual(x, x_field) + total + self.w[f"{field}_bias"]
        return _layer_norm(y, self.w[f"{norm}_layer_norm_gamma"], self.w[f"{norm}_layer_norm_beta"], 1e-12).astype(np.float32)


def encoder(
    hidden: np.ndarray,
    lengths: Sequence[int],
    layers: Sequence[Any],
    ranges: Sequence[Any],
    num_heads: int,
    mode: str,
    activation: str = "gelu_tanh",
) -> np.ndarray:
    """All layers' outputs, float32 [layers, B, S, H]; rows of padding are zero.

    Args:
      hidden: [B, S, H].
      layers: tf_fastbert.LayerWeights of NumPy arrays, the kernels int8 unless mode is "fp8".
      ranges: tf_fastbert.quantization.amax_list.LayerRanges.
      mode: "int8_mode1", "int8_mode2" or "fp8".
    """
    outputs = np.zeros((len(layers), *hidden.shape), np.float32)
    steps = [_Layer(layer._asdict(), r, mode, num_heads, activation) for layer, r in zip(layers, ranges, strict=True)]
    for b, length in enumerate(lengths):
        x = hidden[b, :length].astype(np.float32)
        for index, step in enumerate(steps):
            x = step(x)
            outputs[index, b, :length] = x
    return outputs
