"""benchmarks/call_from_python.py: one small run through all ways of calling, on whatever TensorFlow runs on here."""

from __future__ import annotations

import json
import time

import pytest

from benchmarks.call_from_python import make_features, medians
from tests.op_runner import REPOSITORY, run_python


def test_features_are_half_padding() -> None:
    features = make_features(2, 16, 100)
    assert features["input_mask"].sum(1).tolist() == [2, 14]
    assert (features["input_ids"] > 0).tolist() == (features["input_mask"] > 0).tolist()


def test_host_time_ends_when_the_call_returns() -> None:
    times = medians(lambda: None, lambda result: time.sleep(0.01), seconds=0.0)
    assert times["host_ms"] < 10 <= times["total_ms"]


def test_every_way_of_calling(tmp_path) -> None:
    pytest.importorskip("bert", reason="bert-tensorflow is not installed")
    script = str(REPOSITORY / "benchmarks" / "call_from_python.py")
    arguments = [
        "--model=minilm",
        "--rows=1x16",
        "--floatx=float32",
        "--seconds=0.01",
        "--vocab_size=50",
        f"--json={tmp_path}/out.jsonl",
    ]
    output = run_python(script, *arguments)
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    tf1, tf2 = ["Session.run", "make_callable", "frozen callable"], ["SavedModel's signature", "tf.function", "frozen function"]
    assert [(line["variant"], line["way"]) for line in lines] == [
        (variant, way) for ways in (tf1, tf2) for variant in ("stock", "patched") for way in ways
    ]
    assert all(line["total_ms"] >= line["host_ms"] > 0 for line in lines)
    assert all(line["relative_error"] < 1e-4 for line in lines if line["variant"] == "patched" and "relative_error" in line)
    assert output.count("| 1 | 16 |") == 6 and "nodes of the graph: stock" in output
