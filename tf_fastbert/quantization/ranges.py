"""From a histogram of absolute values to a range (amax): max, percentile, mse, entropy. NumPy only."""

from __future__ import annotations

import numpy as np

METHODS = ("max", "percentile", "mse", "entropy")
_LEVELS = 127  # of |q|
_CANDIDATES = 128


def amax_of(method: str, counts: np.ndarray, largest: float, percentile: float = 99.99) -> float:
    """The range that a method chooses.

    Args:
      method: one of METHODS. "max": the largest value. "percentile": the value below which `percentile` percent lie. "mse": least
        mean squared error of 8-bit numbers. "entropy": least Kullback-Leibler divergence of the quantized from the real
        distribution, as TensorRT's calibration does it.
      counts: [bins], how many absolute values lie in each of equal parts of [0, largest].

    Returns:
      At most `largest`; 0 if there are only zeros.

    Raises:
      ValueError: an unknown method, a percentile that is not in (0, 100], or an empty histogram.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    if not 0 < percentile <= 100:
        raise ValueError(f"percentile is {percentile}; it must be above 0 and at most 100")
    counts = np.asarray(counts, np.float64)
    if not counts.sum():
        raise ValueError("the histogram is empty")
    if method == "max" or not largest:
        return float(largest)
    edges = np.linspace(0.0, largest, len(counts) + 1)[1:]
    if method == "percentile":
        below = np.cumsum(counts) / counts.sum()
        return float(edges[min(int(np.searchsorted(below, percentile / 100.0)), len(counts) - 1)])
    return _least_error(counts, edges) if method == "mse" else _least_divergence(counts, edges)


def _least_error(counts: np.ndarray, edges: np.ndarray) -> float:
    centers = edges - edges[0] / 2
    best = (np.inf, edges[-1])
    for amax in edges[-1] * np.linspace(1.0 / _CANDIDATES, 1.0, _CANDIDATES):
        step = amax / _LEVELS
        quantized = np.minimum(np.rint(centers / step), _LEVELS) * step
        best = min(best, (float(np.dot(counts, (centers - quantized) ** 2)), float(amax)))
    return best[1]


def _least_divergence(counts: np.ndarray, edges: np.ndarray) -> float:
    # The first bin holds the zeros, of which padding and ReLU make many that say nothing about the range.
    counts = counts.copy()
    counts[0] = counts[1]
    levels = _LEVELS + 1
    if len(counts) <= levels or not counts.any():
        return float(edges[-1])
    best = (np.inf, len(counts))
    for stop in range(levels, len(counts) + 1, max(1, len(counts) // (8 * levels))):
        reference = counts[:stop].copy()
        reference[-1] += counts[stop:].sum()
        inside = counts[:stop]
        # Each level spreads what it holds evenly over its bins that are not empty.
        level = np.arange(stop) * levels // stop
        totals = np.bincount(level, weights=inside, minlength=levels)
        filled = np.bincount(level, weights=inside > 0, minlength=levels)
        quantized = np.where(inside > 0, totals[level] / np.maximum(filled[level], 1), 0.0)
        best = min(best, (_divergence(reference, quantized), stop))
    return float(edges[best[1] - 1])


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    if not q.any():
        return np.inf
    p, q = p / p.sum(), q / q.sum()
    where = p > 0
    # What the quantized distribution cannot show at all costs much, but not infinitely much.
    return float(np.sum(p[where] * np.log(p[where] / np.maximum(q[where], 1e-12))))


def kernel_amax(kernel: np.ndarray, *, per_channel: bool = True) -> np.ndarray:
    """The range of a kernel [in, out], its largest magnitude: float32 [out], or a scalar if not per_channel."""
    magnitudes = np.abs(np.asarray(kernel, np.float32))
    amax = magnitudes.max(axis=0) if per_channel else magnitudes.max()
    # A channel of zeros (pruned) has no range; any positive one represents it.
    return np.where(amax > 0, amax, 1e-6).astype(np.float32)
