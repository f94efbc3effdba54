"""The benchmark's table and what it computes."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.plot import save_plot
from benchmarks.report import Report, encoder_work
from benchmarks.shapes import spread_lengths
from tf_fastbert.cuda.ceilings import Ceilings


def result(row, name, mode, padded, milliseconds=None, **more):
    line = {"row": list(row), "family": "x", "name": name, "mode": mode, "padded": padded, "relative_error": 1e-3, **more}
    return line | ({"milliseconds": milliseconds} if milliseconds is not None else {})


@pytest.fixture
def report() -> Report:
    row, other = (8, 128), (1, 32)
    results = [
        result(row, "ours", "calls", False, 0.40, farthest=0.002),
        result(row, "ours", "CUDA graph", False, 0.36),
        result(row, "ours", "calls", True, 0.50),
        result(row, "torch packed", "compiled, CUDA graph", False, 0.54),
        result(row, "torch", "compiled, CUDA graph", True, 0.75),
        result(other, "ours", "calls", False, not_timed="its output differs from the reference by 1.0e+00"),
    ]
    return Report("base", "float16", [row, other], ["GPU"], results, Ceilings(7e14, 2.5e12), ["jax: not installed (no module)"])


def test_work_counts_what_cannot_be_avoided() -> None:
    flops, moved = encoder_work("base", [2, 4], 2)
    weights = 4 * 768 * 768 + 2 * 768 * 3072
    assert flops == 12 * (2 * 6 * weights + 4 * 768 * (4 + 16))
    assert moved == 2 * (12 * weights + 2 * 6 * 768)


def test_table(report: Report) -> None:
    lines = report.markdown().splitlines()
    head = [cell.strip() for cell in lines[2].split("|")]
    cells = dict(zip(head, (cell.strip() for cell in lines[4].split("|"))))
    assert cells["ours, CUDA graph"] == "0.360" and cells["torch, compiled, CUDA graph (padded)"] == "0.750"
    assert cells["best peer"] == "0.540" and cells["ours / best peer"] == "0.67" and cells["target"] == "0.42"
    assert cells["ours padded / best padded peer"] == "0.67"
    assert cells["floor"] == f"{1e3 * encoder_work('base', spread_lengths(8, 128), 2)[0] / 7e14:.3f}"
    other = dict(zip(head, (cell.strip() for cell in lines[5].split("|"))))
    assert other["ours, calls"] == "-" and other["best peer"] == "-"
    assert "- jax: not installed (no module)" in lines
    assert "- ours, calls, not timed at 1x32: its output differs from the reference by 1.0e+00" in lines
    assert "- outputs against each other: at most 2.0e-03 apart" in lines


def test_bursts_are_a_table_of_their_own(report: Report) -> None:
    assert "Five calls" not in report.markdown()
    report.results[1]["burst_milliseconds"] = 0.31
    report.results[3]["burst_milliseconds"] = 0.5
    lines = report.markdown().splitlines()
    head = lines.index("| B | S | ours, CUDA graph | torch packed, compiled, CUDA graph |")
    assert "Five calls" in lines[head - 2] and lines[head + 2 : head + 4] == ["| 8 | 128 | 0.310 | 0.500 |", "| 1 | 32 | - | - |"]
    assert report.best((8, 128), ours=True)["milliseconds"] == 0.36


def test_given_lengths_count_in_work_and_give_examples_a_second(report: Report) -> None:
    given = dataclasses.replace(report, lengths={(8, 128): [10] * 8})
    lines = given.markdown().splitlines()
    assert "| 8 | 128 | 80 |" in lines[4]
    assert given.floor_ms((8, 128)) < report.floor_ms((8, 128))
    assert "20,000 (ours, calls), 22,222 (ours, CUDA graph)" in next(line for line in lines if "examples a second" in line)
    assert "examples a second" not in report.markdown()


def test_plot(report: Report, tmp_path) -> None:
    pytest.importorskip("matplotlib", reason="the plot needs matplotlib")
    save_plot(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
