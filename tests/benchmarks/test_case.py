"""What the benchmark gives to every implementation: storage, lengths, the reference."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from benchmarks import case as cases
from benchmarks.case import Case, Row, relative_error, store, to_float32
from tests.reference import encoder_float64


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, -1.0 - 2**-7, 3.0e38], np.float32)
    expected = np.array([1.0, 1.0, 1.0 + 2**-6, -1.0 - 2**-7, 3.0e38], np.float32)
    got = to_float32(store(values, "bfloat16"))
    np.testing.assert_allclose(got, expected, rtol=2**-8)
    np.testing.assert_array_equal(got[:4], expected[:4])


def test_row_selects_the_same_tokens_with_and_without_padding() -> None:
    row = Row(5, 16)
    assert row.checked == [0, 2, 4] and row.tokens == int(row.mask().sum())
    padded = np.random.default_rng(0).standard_normal((5, 16, 3))
    np.testing.assert_array_equal(row.select(padded), row.select(padded[row.mask()]))
    assert len(row.select(padded)) == sum(row.lengths[b] for b in row.checked)


def test_relative_error_of_nan_is_refused() -> None:
    assert not relative_error(np.array([np.nan, 1.0]), np.ones(2)) < 1.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_reference_is_the_tests_reference(dtype, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(cases.MODELS, "base", (2, 2, 8, 24))
    Case.write(tmp_path, "base", dtype, [(3, 8)], {"padded": True})
    case = Case.read(tmp_path)
    row = case.rows[0]
    assert case.options == {"padded": True} and case.weight_shapes()["output_kernel"] == (24, 16)
    weights = collections.namedtuple("Weights", case.weight_shapes())
    layers = [weights(**{name: to_float32(value) for name, value in layer.items()}) for layer in case.layers]
    wanted = encoder_float64(to_float32(case.input(row)), row.mask(), layers, num_heads=2)
    assert relative_error(case.reference(row), row.select(wanted)) < 1e-9
