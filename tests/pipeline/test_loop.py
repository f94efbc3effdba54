"""Rows of the prediction loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tf_fastbert.pipeline import loop


class Estimator:
    """Two batches; keeps the arguments."""

    batches: list[Any] = [
        {"unique_ids": np.array([7, 8], np.int32), "logits": np.array([[1.5, -2], [0.1, 3]], np.float32)},
        {"unique_ids": np.array([9], np.int32), "logits": np.array([[4, 5]], np.float32)},
    ]

    def predict(
        self, input_fn: Any, predict_keys: Any, hooks: Any, checkpoint_path: Any, yield_single_examples: bool = True
    ) -> Iterator[Any]:
        assert (input_fn, predict_keys, hooks, checkpoint_path) == ("input", "keys", "hooks", "path")
        assert not yield_single_examples
        yield from self.batches


def predict(**more: Any) -> list[Any]:
    return list(loop.make_predict(Estimator)(Estimator(), "input", "keys", hooks="hooks", checkpoint_path="path", **more))


def test_rows_are_the_batches_rows() -> None:
    rows = predict()
    assert [int(row["unique_ids"]) for row in rows] == [7, 8, 9]
    np.testing.assert_array_equal([row["logits"] for row in rows], [[1.5, -2], [np.float32(0.1), 3], [4, 5]])
    floats = list(rows[1]["logits"].flat)
    assert floats == [float(np.float32(0.1)), 3.0] and {type(x) for x in floats} == {float}


def test_batches_stay_batches() -> None:
    assert predict(yield_single_examples=False) == Estimator.batches


def test_arrays_instead_of_dictionaries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Estimator, "batches", [np.arange(3), np.arange(2)])
    assert predict() == [0, 1, 2, 0, 1]


def test_sizes_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Estimator, "batches", [{"a": np.arange(3), "b": np.arange(2)}])
    with pytest.raises(ValueError, match="differ in size: a 3, b 2"):
        predict()
