"""Quantized layers for tests.random_configs' models: int8 kernels and amaxList vectors, written apart from the package.

The layout of amaxList is spelled out here a second time on purpose: tests that took it from the package could not see it change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tests.random_configs import Config, Inputs, Weights
from tests.reference import encoder_float64

KERNELS = ("query_kernel", "key_kernel", "value_kernel", "attention_output_kernel", "intermediate_kernel", "output_kernel")
# The 16 activations of an amaxList in its order; what a backend may leave unquantized has a range that does no harm.
ACTIVATIONS = (
    "attention_input", "query_sum", "query", "key_sum", "key", "value_sum", "value", "softmax_input", "softmax_output", "context",
    "attention_output_sum", "intermediate_input", "intermediate_sum", "output_input", "output_sum", "next_input",
)  # fmt: skip


class Quantized(NamedTuple):
    layers: list[Weights]  # kernels int8, or as they were (fp8)
    amax_lists: list[np.ndarray]
    ranges: list[dict[str, float]]  # of the activations
    kernel_ranges: list[dict[str, np.ndarray]]  # by output channel


def amax_list(activations: np.ndarray, kernels: list[np.ndarray]) -> np.ndarray:
    """float32 [72 + 5 H + I + 32] of the ranges of 16 activations and of six kernels' output channels."""
    activations = np.asarray(activations, np.float32)
    first = np.stack([activations, activations / 127, activations / 127 / 127, 127 / activations], axis=1).ravel()
    unused = np.full(8, np.nan, np.float32)  # nobody may read these
    rescaling = np.full(8 + 3 + 21, np.nan, np.float32)
    return np.concatenate([first, unused, *kernels, rescaling]).astype(np.float32)


def reference(config: Config, inputs: Inputs, layers: list[Any], hook: Any) -> np.ndarray:
    return encoder_float64(
        inputs.hidden_states, inputs.sequence_length, layers, config.num_heads, config.epsilon, config.activation,
        config.layer_norm, config.all_layers, hook,
    )  # fmt: skip


def quantize(config: Config, inputs: Inputs, mode: str) -> Quantized:
    """Quantizes kernels and activations by their largest values in the float64 reference."""
    seen: list[dict[str, float]] = [{} for _ in inputs.layers]

    def observe(layer: int, field: str, values: np.ndarray) -> np.ndarray:
        seen[layer][field] = max(seen[layer].get(field, 1e-3), float(np.abs(values).max(initial=0)))
        return values

    reference(config, inputs, inputs.layers, observe)
    layers, lists, kernel_ranges = [], [], []
    for index, layer in enumerate(inputs.layers):
        changed, kernels = {}, {}
        for name in KERNELS:
            kernel = getattr(layer, name).astype(np.float32)
            amax = np.abs(kernel).max(axis=0)
            if mode == "int8_mode2":
                amax = np.full_like(amax, amax.max())
            kernels[name] = amax
            if mode != "fp8":
                scaled = kernel * (127 / amax)
                rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
                changed[name] = np.clip(rounded, -127, 127).astype(np.int8)
        others = {**dict.fromkeys(ACTIVATIONS, 12.0), "softmax_output": 1.0, **seen[index]}
        others["next_input"] = seen[index + 1].get("attention_input", 1.0) if index + 1 < len(seen) else 1.0
        layers.append(layer._replace(**changed))
        lists.append(amax_list(np.array([others[name] for name in ACTIVATIONS]), list(kernels.values())))
        kernel_ranges.append(kernels)
    return Quantized(layers, lists, seen, kernel_ranges)


def expected_output(config: Config, inputs: Inputs, quantized: Quantized) -> np.ndarray:
    """What an int8 mode computes in float64: dequantized kernels, and the inputs of the products with kernels quantized."""
    layers = []
    for layer, ranges in zip(quantized.layers, quantized.kernel_ranges):
        layers.append(
            layer._replace(**{name: getattr(layer, name).astype(np.float64) * ranges[name] / 127 for name in KERNELS})
        )

    def fake_quantize(layer: int, field: str, values: np.ndarray) -> np.ndarray:
        amax = np.float32(quantized.ranges[layer].get(field, 1e-3))
        return np.clip(np.rint(values * 127 / amax), -127, 127) * amax / 127

    return reference(config, inputs, layers, fake_quantize)
