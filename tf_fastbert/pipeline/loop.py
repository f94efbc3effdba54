"""The prediction loop: the rows of each batch, at little cost a row.

Estimator.predict makes a row's dictionary of NumPy slices; Google's run_squad then turns each logit into a Python float, by way
of a NumPy scalar: 8 million of them for SQuAD's dev set.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tf_fastbert.pipeline import ahead


class _Rows(np.ndarray):
    """An array whose .flat gives Python's floats: float(x) for x in row.flat then has nothing to convert."""

    @property
    def flat(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(self.ravel().tolist())


def make_predict(estimator: Any) -> Callable[..., Iterator[Any]]:
    """estimator.predict, which takes batches from the original and splits them."""
    original = estimator.predict

    @functools.wraps(original)
    def predict(
        self: Any,
        input_fn: Any,
        predict_keys: Any = None,
        hooks: Any = None,
        checkpoint_path: Any = None,
        yield_single_examples: bool = True,
    ) -> Iterator[Any]:
        batches = original(self, input_fn, predict_keys, hooks, checkpoint_path, yield_single_examples=False)
        if not yield_single_examples:
            yield from batches
            return
        for batch in batches:
            ahead.give(batch)
            yield from _split(batch)

    return predict


def _split(batch: Any) -> Iterator[Any]:
    if not isinstance(batch, dict):
        yield from batch
        return
    columns = [list(value.view(_Rows)) if value.dtype.kind == "f" and value.ndim > 1 else list(value) for value in batch.values()]
    if len({len(column) for column in columns}) > 1:
        sizes = ", ".join(f"{name} {len(column)}" for name, column in zip(batch, columns))
        raise ValueError(f"predictions of one batch differ in size: {sizes}")
    keys = tuple(batch)
    for row in zip(*columns):
        yield dict(zip(keys, row))
