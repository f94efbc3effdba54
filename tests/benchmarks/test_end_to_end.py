"""benchmarks/end_to_end.py: the questions it takes, its table, and a run of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from benchmarks import end_to_end
from tests.wrap import tiny_model


def test_the_first_questions(tmp_path: Path) -> None:
    tiny_model.write_squad(tmp_path / "all.json")
    for asked, kept in ((0, 7), (3, 3), (7, 7), (100, 7)):
        assert end_to_end.cut_questions(tmp_path / "all.json", tmp_path / "some.json", asked) == kept
        paragraphs = json.loads((tmp_path / "some.json").read_text())["data"][0]["paragraphs"]
        assert [paragraph["qas"][0]["id"] for paragraph in paragraphs] == [f"q{i}" for i in range(kept)]


def test_the_table_has_medians() -> None:
    runs = [
        {"way": "fast", "seconds": seconds, "parts": {"imports": seconds / 2}, "features_per_second": 9.0}
        for seconds in (1.0, 4.0, 2.0)
    ]
    rows = end_to_end.table([*runs, {"way": "stock", "seconds": 8.0}], questions=10).splitlines()
    assert rows[2] == "| fast | 5 | 2.00 | 1.00 | 0.00 | 0.00 | 0.00 | 0.00 | 0.00 | 9 |"
    assert rows[3].startswith("| stock | 1 | 8.00 |")


def test_a_run(tmp_path: Path) -> None:
    tiny_model.write_model(tmp_path)
    tiny_model.write_squad(tmp_path / "squad.json")
    script = tiny_model.REPO / "benchmarks" / "end_to_end.py"
    result = subprocess.run(
        [
            sys.executable,
            str(script),
            f"--model_dir={tmp_path}",
            f"--predict_file={tmp_path}/squad.json",
            "--questions=5",
            "--max_seq_length=64",
            "--max_query_length=16",
            "--ways=fast,google",
            "--rounds=1",
            f"--output={tmp_path}/out.jsonl",
        ],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "google: 0 of 5 answers differ from those of fast; exact match" in result.stdout
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["way"] for line in lines] == ["fast", "google"]
    for line in lines:
        assert line["questions"] == 5 and line["questions_per_second"] == pytest.approx(5 / line["seconds"])
        assert sum(line["parts"].values()) < line["seconds"]
