"""Quantized layers for tests.random_configs' models: int8 kernels and amaxList vectors, written apart from the package.

The layout of amaxList is spelled out here a second time on purpose: tests that took it from the package could not see it change.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.random_configs import Inputs, Weights

KERNELS = ("query_kernel", "key_kernel", "value_kernel", "attention_output_kernel", "intermediate_kernel", "output_kernel")


class Quantized(NamedTuple):
    layers: list[Weights]  # kernels int8, or as they were (fp8)
    amax_lists: list[np.ndarray]


def amax_list(activations: np.ndarray, kernels: list[np.ndarray]) -> np.ndarray:
    """float32 [72 + 5 H + I + 32] of the ranges of 16 activations and of six kernels' output channels."""
    activations = np.asarray(activations, np.float32)
    first = np.stack([activations, activations / 127, activations / 127 / 127, 127 / activations], axis=1).ravel()
    unused = np.full(8, np.nan, np.float32)  # nobody may read these
    rescaling = np.full(8 + 3 + 21, np.nan, np.float32)
    return np.concatenate([first, unused, *kernels, rescaling]).astype(np.float32)


def quantize(inputs: Inputs, mode: str, activation_range: float = 8.0) -> Quantized:
    """Quantizes the kernels by their largest values; one range for all activations, probabilities (0 to 1) apart."""
    layers, lists = [], []
    for layer in inputs.layers:
        changed, ranges = {}, []
        for name in KERNELS:
            kernel = getattr(layer, name).astype(np.float32)
            amax = np.abs(kernel).max(axis=0)
            if mode == "int8_mode2":
                amax = np.full_like(amax, amax.max())
            ranges.append(amax)
            if mode != "fp8":
                scaled = kernel * (127 / amax)
                rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
                changed[name] = np.clip(rounded, -127, 127).astype(np.int8)
        activations = np.full(16, activation_range, np.float32)
        activations[8] = 1.0  # probabilities
        layers.append(layer._replace(**changed))
        lists.append(amax_list(activations, ranges))
    return Quantized(layers, lists)
