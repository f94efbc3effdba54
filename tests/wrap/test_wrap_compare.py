"""What --compare_stock says of two runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tf_fastbert.wrap import compare


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("stock", "ours"):
        (tmp_path / name).mkdir()
    return tmp_path / "stock", tmp_path / "ours"


def timing(floatx: str, rate: float) -> dict:
    return {
        "floatx": floatx,
        "examples": 10,
        "examples_per_second": rate,
        "seconds": 10 / rate,
        "first_batch_seconds": 1.0,
        "parts": {"features": 1.5, "imports": 4.0} if rate > 10 else {"features": 20.0},
    }


def test_squad(folders: tuple[Path, Path]) -> None:
    stock, ours = folders
    (stock / "predictions.json").write_text(json.dumps({"a": "one", "b": "two"}))
    (ours / "predictions.json").write_text(json.dumps({"a": "one", "b": "2"}))
    result = compare.squad(str(stock), str(ours))
    assert result == {"answers": 2, "differing": 1, "differences": {"b": ["two", "2"]}}
    text = compare.report(
        {"timing": {"stock": timing("float32", 10), "fastbert": timing("float16", 25)}, "note": "a note", "predictions": result}
    )
    assert "2.50 times as fast" in text
    assert "features, seconds 20.00 1.50 fastbert" in " ".join(text.split())  # what only one of them has is left out
    assert "1 of 2 answers differ\n  b: stock 'two', fastbert '2'\na note" in text
    (ours / "predictions.json").write_text(json.dumps({"a": "one"}))
    with pytest.raises(ValueError, match="same questions"):
        compare.squad(str(stock), str(ours))


def test_labels(folders: tuple[Path, Path]) -> None:
    stock, ours = folders
    (stock / "test_results.tsv").write_text("0.9\t0.1\n0.6\t0.4\n")
    (ours / "test_results.tsv").write_text("0.8\t0.2\n0.4\t0.6\n")
    result = compare.labels(str(stock), str(ours))
    assert result == {
        "answers": 2,
        "differing": 1,
        "differences": {"1": [0, 1]},
        "max_probability_difference": pytest.approx(0.2),
    }
    (ours / "test_results.tsv").write_text("0.8\t0.2\n")
    with pytest.raises(ValueError, match="same rows"):
        compare.labels(str(stock), str(ours))


def test_metrics(folders: tuple[Path, Path]) -> None:
    for folder, accuracy in zip(folders, (0.5, 0.75)):
        (folder / "eval_results.txt").write_text(f"eval_accuracy = {accuracy}\nglobal_step = 3\n")
    result = compare.metrics(*map(str, folders))
    assert result == {"eval_accuracy": [0.5, 0.75]}
    text = compare.report(
        {"timing": {"stock": timing("float32", 10), "fastbert": timing("float32", 5)}, "note": "", "metrics": result}
    )
    assert "eval_accuracy" in text and "0.75" in text


def test_many_differences_are_cut_short(folders: tuple[Path, Path]) -> None:
    stock, ours = folders
    (stock / "predictions.json").write_text(json.dumps({str(i): "a" for i in range(20)}))
    (ours / "predictions.json").write_text(json.dumps({str(i): "b" for i in range(20)}))
    comparison = {
        "timing": {"stock": timing("float32", 1), "fastbert": timing("float32", 1)},
        "note": "",
        "predictions": compare.squad(str(stock), str(ours)),
    }
    assert compare.report(comparison).count("\n  ") == 6
    assert "  and 15 more" in compare.report(comparison)
