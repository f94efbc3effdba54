"""From histograms to ranges: each method on distributions whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from tf_fastbert.quantization import ranges


def histogram(values: np.ndarray, bins: int = 4096) -> tuple[np.ndarray, float]:
    largest = float(np.abs(values).max())
    return np.histogram(np.abs(values), bins=bins, range=(0, largest))[0], largest


def error(values: np.ndarray, amax: float) -> float:
    step = amax / 127
    return float(np.mean((values - np.clip(np.rint(values / step), -127, 127) * step) ** 2))


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    """Normal, with one value far out."""
    rng = np.random.default_rng(1)
    return np.append(rng.standard_normal(200_000), 400.0)


def test_max_and_percentile(values: np.ndarray) -> None:
    counts, largest = histogram(values)
    assert ranges.amax_of("max", counts, largest) == 400.0
    width = largest / len(counts)
    for percentile in (99.0, 99.9, 99.99):
        amax = ranges.amax_of("percentile", counts, largest, percentile)
        assert amax == pytest.approx(np.percentile(np.abs(values), percentile), abs=1.01 * width)
    assert ranges.amax_of("percentile", counts, largest, 100.0) == largest


def test_mse_is_the_least_error_of_all(values: np.ndarray) -> None:
    few = values[:-1]
    counts, largest = histogram(few)
    amax = ranges.amax_of("mse", counts, largest)
    assert amax < largest
    assert error(few, amax) < 1.01 * min(error(few, candidate) for candidate in np.linspace(0.5, largest, 200))


def test_entropy_cuts_the_far_value_off(values: np.ndarray) -> None:
    counts, largest = histogram(values)
    assert 2.0 < ranges.amax_of("entropy", counts, largest) < 40.0
    # A flat distribution has no tail to cut.
    assert ranges.amax_of("entropy", np.full(4096, 10), 1.0) > 0.9


def test_zeros_and_refusals() -> None:
    counts = np.zeros(4096, int)
    counts[0] = 5
    for method in ranges.METHODS:
        assert ranges.amax_of(method, counts, 0.0) == 0.0
    with pytest.raises(ValueError, match="'best'; it must be one of max, percentile"):
        ranges.amax_of("best", counts, 1.0)
    with pytest.raises(ValueError, match="percentile is 0"):
        ranges.amax_of("percentile", counts, 1.0, 0)
    with pytest.raises(ValueError, match="empty"):
        ranges.amax_of("max", np.zeros(4096), 1.0)


def test_kernels() -> None:
    rng = np.random.default_rng(2)
    kernel = rng.standard_normal((64, 3)).astype(np.float32) * np.array([1, 10, 0.1], np.float32)
    np.testing.assert_array_equal(ranges.kernel_amax(kernel, per_channel=True), np.abs(kernel).max(axis=0))
    assert ranges.kernel_amax(kernel, per_channel=False).shape == ()
    assert ranges.kernel_amax(kernel, per_channel=False) == np.abs(kernel).max()
    kernel[:, 1] = 0  # pruned
    assert ranges.kernel_amax(kernel)[1] > 0
