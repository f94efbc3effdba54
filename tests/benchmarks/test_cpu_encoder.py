"""benchmarks/cpu_encoder.py without its processes: turns, ratios, and the table."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from benchmarks import cpu_encoder
from benchmarks.case import Case, Row
from benchmarks.cpu_peers import CANDIDATES, STOCK


class FakeWorker:
    """Takes 10 ms, or what `times` says; outputs are the case's input."""

    def __init__(self, times: dict[str, float], fails: str = ""):
        self.times, self.fails, self.asked = times, fails, []

    def ask(self, **request: Any) -> dict[str, Any]:
        name = request.get("check") or request["time"]
        self.asked.append(name)
        if name == self.fails:
            return {"failed": "ValueError: no"}
        if "check" in request:
            np.save(request["output"], np.ones((2, 8, 4), np.float32))
        return {"milliseconds": self.times.get(name, 10.0)}


@pytest.fixture
def case(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    row = Row(2, 8)
    monkeypatch.setattr(Case, "reference", lambda self, row: np.ones((row.tokens, 4)))
    return Case(tmp_path, "base", "float32", (row,), {})


def test_speedups_are_ratios_to_stock_tensorflow(case: Case) -> None:
    worker = FakeWorker({STOCK: 40.0, "ours int8": 5.0}, fails="ours bfloat16")
    results = {r["name"]: r for r in cpu_encoder.measure(case, {"tensorflow": worker}, case.rows[0], rounds=3)}
    assert set(results) == set(CANDIDATES["tensorflow"])
    assert results["ours int8"]["speedup"] == 8.0 and results["ours float32"]["speedup"] == 4.0
    assert results["ours bfloat16"]["failed"] == "ValueError: no" and "milliseconds" not in results["ours bfloat16"]
    assert worker.asked.count("ours int8") == 1 + 1 + 3  # checked, warmed up, timed
    table = cpu_encoder.markdown("base", [(2, 8)], list(results.values()), "top")
    assert "| ours int8 | 8.00 (5.0) |" in table and "- ours bfloat16: ValueError: no" in table


def test_a_wrong_output_is_not_timed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Case, "reference", lambda self, row: np.full((row.tokens, 4), 2.0))
    worker = FakeWorker({})
    results = cpu_encoder.measure(case, {"tensorflow": worker}, case.rows[0], rounds=1)
    assert all("differs from float64" in r["failed"] for r in results)
    assert len(worker.asked) == len(CANDIDATES["tensorflow"])


def test_speedups_over_another_baseline(case: Case) -> None:
    worker = FakeWorker({STOCK: 40.0, "ours float32": 20.0})
    results = cpu_encoder.measure(case, {"tensorflow": worker}, case.rows[0], rounds=3, baseline="ours float32")
    assert {r["name"]: r["speedup"] for r in results} == {STOCK: 0.5, "ours float32": 1.0, "ours bfloat16": 2.0, "ours int8": 2.0}
