"""The layout of amaxList: the ancestor's, by its offsets; what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tf_fastbert.quantization import amax_list, names

H, I = 8, 32  # I = 4 H: the ancestor's length


def ranges(inner: int = I) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    activations = {field: 1.5 + i for i, field in enumerate(names.ACTIVATIONS)}
    widths = {field: inner if field == "intermediate_kernel" else H for field in names.KERNELS}
    kernels = {field: np.arange(1, width + 1, dtype=np.float32) + 100 * i for i, (field, width) in enumerate(widths.items())}
    return activations, kernels


def test_offsets_are_the_ancestors() -> None:
    activations, kernels = ranges()
    values = amax_list.build(activations, kernels, H, I, next_input=40.0)
    assert values.dtype == np.float32 and values.shape == (72 + 9 * H + 8 + 3 + 21,)
    offsets = {
        0: "attention_input", 4: "query_sum", 8: "query", 12: "key_sum", 16: "key", 20: "value_sum", 24: "value",
        28: "softmax_input", 32: "softmax_output", 36: "context", 40: "attention_output_sum", 44: "intermediate_input",
        48: "intermediate_sum", 52: "output_input", 56: "output_sum",
    }  # fmt: skip
    for offset, field in offsets.items():
        amax = activations[field]
        np.testing.assert_allclose(values[offset : offset + 4], [amax, amax / 127, amax / 127**2, 127 / amax], rtol=1e-6)
    assert values[60] == 40.0
    assert not values[64:72].any()
    np.testing.assert_array_equal(values[72 : 72 + H], kernels["query_kernel"])
    np.testing.assert_array_equal(values[72 + 4 * H : 72 + 4 * H + I], kernels["intermediate_kernel"])
    np.testing.assert_array_equal(values[72 + 4 * H + I : 72 + 5 * H + I], kernels["output_kernel"])
    scales = values[72 + 9 * H :]
    a = activations
    np.testing.assert_allclose(scales[0], a["attention_input"] * 8 / (127 * a["query_sum"]), rtol=1e-6)
    np.testing.assert_allclose(scales[3], a["query"] * a["key"] / (127 * a["softmax_input"]), rtol=1e-6)
    np.testing.assert_allclose(scales[4], a["softmax_output"] * a["value"] / (127 * a["context"]), rtol=1e-6)
    np.testing.assert_allclose(scales[7], a["output_input"] * 508 / (127 * a["output_sum"]), rtol=1e-6)
    np.testing.assert_array_equal(scales[8:11], [max(a["query"], a["key"], a["value"]), a["softmax_output"], a["context"]])
    assert not scales[11:].any()


@pytest.mark.parametrize("inner", [I, 20])
def test_parse_gives_back_what_was_built(inner: int) -> None:
    activations, kernels = ranges(inner)
    read = amax_list.parse(amax_list.build(activations, kernels, H, inner, 3.0), H, inner)
    assert read.activations == activations and read.next_input == 3.0 and read.per_channel
    for field, amax in kernels.items():
        np.testing.assert_array_equal(read.kernels[field], amax)
    scalars = {field: np.float32(2.0) for field in kernels}
    read = amax_list.parse(amax_list.build(activations, scalars, H, inner), H, inner)
    assert not read.per_channel and read.next_input == 1.0
    np.testing.assert_array_equal(read.kernels["intermediate_kernel"], np.full(inner, 2.0))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_bad_ranges(bad: float) -> None:
    activations, kernels = ranges()
    with pytest.raises(ValueError, match="the range of context is .*positive"):
        amax_list.build({**activations, "context": bad}, kernels, H, I)
    kernels["output_kernel"][3] = bad
    with pytest.raises(ValueError, match="the range of channel 3 of output_kernel is"):
        amax_list.build(activations, kernels, H, I)
    good = amax_list.build(*ranges(), H, I)
    good[12] = bad
    with pytest.raises(ValueError, match="the range of key_sum is"):
        amax_list.parse(good, H, I)


def test_wrong_sizes() -> None:
    activations, kernels = ranges()
    with pytest.raises(ValueError, match=r"shape \[8\], expected \[\] or \[20\]"):
        amax_list.build(activations, {**kernels, "intermediate_kernel": np.ones(8, np.float32)}, H, 20)
    with pytest.raises(ValueError, match=r"shape \[176\], expected \[164\]"):
        amax_list.parse(amax_list.build(activations, kernels, H, I), H, 20)
    del activations["softmax_input"]
    with pytest.raises(ValueError, match="softmax_input is missing"):
        amax_list.build(activations, kernels, H, I)
