"""benchmarks/merge.py: tables of one or more runs, from their lines."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from benchmarks import merge
from tf_fastbert.cuda.ceilings import Ceilings


def line(name: str, milliseconds: float | None, row: tuple[int, int] = (8, 128), **more: Any) -> dict[str, Any]:
    fixed = {"device": "GPU X", "model": "base", "dtype": "float16", "versions": [f"{name} 1"], "ceilings": [7e14, 2.5e12]}
    times = {"milliseconds": milliseconds, "relative_error": 1e-3} if milliseconds else {"not_timed": "no time"}
    return {**fixed, "row": list(row), "name": name, "mode": "calls", "padded": False, **times, **more}


def test_runs_become_one_table() -> None:
    report = merge.merge([[line("ours", 0.4), line("ours", 0.3, (1, 32))], [line("ours", 0.5), line("torch packed", 0.8)]])
    assert report.rows == [(1, 32), (8, 128)] and report.ceilings == Ceilings(7e14, 2.5e12)
    assert report.header == ["GPU X; BERT-base, float16; milliseconds, medians", "ours 1", "torch packed 1"]
    (cells,) = [text.split(" | ") for text in report.markdown().splitlines() if text.startswith("| 8 | 128 |")]
    assert cells[4:8] == ["0.400", "0.800", "0.800", "0.50"], "the first run's time of ours counts"


def test_a_later_run_fills_what_an_earlier_did_not_time() -> None:
    report = merge.merge([[line("ours", None)], [line("ours", 0.5)]])
    assert [r["milliseconds"] for r in report.results] == [0.5]


def test_given_lengths_are_kept() -> None:
    assert merge.merge([[line("ours", 0.4, (2, 8), lengths=[3, 4])]]).lengths_of((2, 8)) == [3, 4]


@pytest.mark.parametrize("key, value", [("device", "GPU Y"), ("model", "large"), ("dtype", "bfloat16")])
def test_runs_that_do_not_belong_together(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"different {key}s: .*{value}"):
        merge.merge([[line("ours", 0.4)], [line("torch", 0.4, **{key: value})]])


@pytest.mark.parametrize(
    "content, problem", [("", "is empty"), ("{}", "line 1 .* no device"), ("x", "line 1 is not"), ("3", "line 1 is not")]
)
def test_damaged_files(tmp_path, monkeypatch: pytest.MonkeyPatch, content: str, problem: str) -> None:
    (tmp_path / "encoder.jsonl").write_text(content)
    monkeypatch.setattr(sys, "argv", ["merge.py", str(tmp_path / "encoder.jsonl")])
    with pytest.raises(SystemExit, match=f"error: .*{problem}"):
        merge.main()


def test_program(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "encoder.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in (line("ours", 0.4), line("torch packed", 0.8))))
    monkeypatch.setattr(sys, "argv", ["merge.py", str(file), f"--out={tmp_path / 'new'}"])
    merge.main()
    assert "| 8 | 128 | 512 |" in capsys.readouterr().out
