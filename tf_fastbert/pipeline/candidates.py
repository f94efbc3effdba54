"""Which pairs of positions can be an answer, and in which order: the numeric half of Google's write_predictions, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

# (index of the window among the example's, start position, end position, start logit, end logit)
Pair = tuple[int, int, int, float, float]

_PAIRS = 1 << 19  # looked at together: bounds the memory
_FIRST = 48  # pairs of an example that become Python objects at once; the n best are nearly always among them


class Unusual(Exception):
    """Logits that are not finite, or windows that are not as Google's code makes them: what happens is then Google's affair."""


def find(
    features: Sequence[Sequence[Any]], results: Mapping[int, Any], n_best_size: int, max_answer_length: int
) -> Iterator[Iterator[Pair]]:
    """For each example its pairs, best first; of equal ones the one that Google's loops meet first.

    Args:
      features: for each example its windows, Google's InputFeatures.
      results: unique id -> RawResult.

    Raises:
      Unusual: see there.
      KeyError: a window has no result.
    """
    first, most = 0, _PAIRS // n_best_size**2
    while first < len(features):
        last, windows = first, 0
        while last < len(features) and (last == first or windows + len(features[last]) <= most):
            windows += len(features[last])
            last += 1
        yield from _find(features[first:last], results, n_best_size, max_answer_length)
        first = last


def _find(
    features: Sequence[Sequence[Any]], results: Mapping[int, Any], n_best_size: int, max_answer_length: int
) -> Iterator[Iterator[Pair]]:
    windows = list(chain.from_iterable(features))
    if not windows:
        yield from (iter(()) for _ in features)
        return
    start_logits, end_logits = _logits([results[window.unique_id] for window in windows])
    is_token, is_max_context = _positions(windows, start_logits.shape[1])
    starts, ends = best_indexes(start_logits, n_best_size), best_indexes(end_logits, n_best_size)
    row = np.arange(len(windows))[:, None]
    length = ends[:, None, :] - starts[:, :, None]
    possible = (length >= 0) & (length < max_answer_length)
    possible &= is_max_context[row, starts][:, :, None]
    possible &= is_token[row, ends][:, None, :]
    window, i, j = np.nonzero(possible)  # in the order of Google's loops
    start, end = starts[window, i], ends[window, j]
    start_logit, end_logit = start_logits[window, start], end_logits[window, end]
    counts = np.array([len(group) for group in features])
    example = np.repeat(np.arange(len(features)), counts)[window]
    within = window - (np.cumsum(counts) - counts)[example]
    order = np.lexsort((-(start_logit + end_logit), example))  # stable
    columns = [column[order] for column in (within, start, end, start_logit, end_logit)]
    bounds = np.searchsorted(example[order], np.arange(len(features) + 1))
    # The first pairs of all examples become Python objects in one go.
    soon = np.arange(len(order)) - np.repeat(bounds[:-1], np.diff(bounds)) < _FIRST
    lists = [column[soon].tolist() for column in columns]
    begin = 0
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist()):
        count = min(high - low, _FIRST)
        pairs = zip(*[values[begin : begin + count] for values in lists])
        begin += count
        yield pairs if high - low == count else chain(pairs, _later(columns, low + count, high))


def _later(columns: Sequence[np.ndarray], low: int, high: int) -> Iterator[Pair]:
    yield from zip(*[column[low:high].tolist() for column in columns])


def _logits(results: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    try:
        start = np.array([result.start_logits for result in results], np.float64)
        end = np.array([result.end_logits for result in results], np.float64)
    except ValueError as error:  # lists of different lengths
        raise Unusual from error
    if start.ndim != 2 or start.shape != end.shape or not (np.isfinite(start).all() and np.isfinite(end).all()):
        raise Unusual
    return start, end


def _positions(windows: Sequence[Any], length: int) -> tuple[np.ndarray, np.ndarray]:
    """bool [windows, length]: whether a token of the document is there, and whether this window gives it the most context."""
    is_token, is_max_context = np.zeros((2, len(windows), length), bool)
    for row, window in enumerate(windows):
        count = len(window.token_to_orig_map)
        if not count:
            continue
        first, last = next(iter(window.token_to_orig_map)), next(reversed(window.token_to_orig_map))
        if last - first + 1 != count or len(window.token_is_max_context) != count or not last < len(window.tokens) <= length:
            raise Unusual
        is_token[row, first : first + count] = True
        is_max_context[row, first : first + count] = list(window.token_is_max_context.values())
    return is_token, is_max_context


def best_indexes(logits: np.ndarray, n_best_size: int) -> np.ndarray:
    """The positions [rows, n] of the n highest of each row of `logits` [rows, length], highest first, of equal ones the first."""
    length = logits.shape[1]
    n = min(n_best_size, length)
    if n == length:
        return np.argsort(-logits, axis=1, kind="stable")
    lowest = np.partition(logits, length - n, axis=1)[:, length - n, None]
    best = logits >= lowest
    # Where several are equal to the lowest of the n, the first of them are in.
    tied = np.flatnonzero(best.sum(axis=1) > n)
    if tied.size:
        equal = logits[tied] == lowest[tied]
        room = n - (logits[tied] > lowest[tied]).sum(axis=1, keepdims=True)
        best[tied] &= ~(equal & (np.cumsum(equal, axis=1) > room))
    indexes = np.nonzero(best)[1].reshape(-1, n)
    order = np.argsort(-np.take_along_axis(logits, indexes, axis=1), axis=1, kind="stable")
    return np.take_along_axis(indexes, order, axis=1)
