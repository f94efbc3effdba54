"""tf_fastbert.cuda.encoder without a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from tf_fastbert.cuda import abi
from tf_fastbert.cuda.encoder import EncoderConfig, quantize_layer, random_layers


@pytest.fixture
def layer() -> dict[str, np.ndarray]:
    layer = random_layers(EncoderConfig(1, 2, 4, 24), seed=3)[0]
    layer["query_kernel"][:, 0] = np.array([1, -1, 0.5, 0.25, 0, 1.5 / 127, -1.5 / 127, 0.1], np.float16)
    return layer


def test_int8_mode1_has_a_range_a_channel(layer) -> None:
    weights, ranges = quantize_layer(layer, "int8_mode1")
    assert set(ranges) == set(abi.KERNEL_NAMES) and ranges["intermediate_kernel"].shape == (24,)
    for name in abi.KERNEL_NAMES:
        assert weights[name].dtype == np.int8 and np.abs(weights[name]).max(axis=0).tolist() == [127] * len(ranges[name])
        step = ranges[name] / 127
        assert (np.abs(weights[name] * step - layer[name].astype(np.float32)) <= 0.501 * step).all()
    assert ranges["query_kernel"][0] == 1.0 and weights["query_kernel"][:4, 0].tolist() == [127, -127, 64, 32]
    assert weights["query_bias"] is layer["query_bias"]


def test_int8_mode2_has_one_range(layer) -> None:
    weights, ranges = quantize_layer(layer, "int8_mode2")
    for name in abi.KERNEL_NAMES:
        assert len(set(ranges[name].tolist())) == 1 and np.abs(weights[name]).max() == 127


def test_fp8_keeps_the_kernels(layer) -> None:
    weights, ranges = quantize_layer(layer, "fp8")
    assert weights["output_kernel"] is layer["output_kernel"]
    assert ranges["output_kernel"][0] == np.abs(layer["output_kernel"].astype(np.float32)).max()
