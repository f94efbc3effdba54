"""`python -m tf_fastbert`: its report and its exit status."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tf_fastbert import doctor, ops


def report_lines() -> tuple[bool, list[str]]:
    lines: list[str] = []
    return doctor.run(lines.append), lines


def test_healthy_installation():
    healthy, lines = report_lines()
    assert healthy
    text = "\n".join(lines)
    assert str(ops.library_path()) in text
    for dtype in ("float32", "float16", "bfloat16"):
        assert any(line.startswith("self-check /CPU:0") and dtype in line for line in lines), text
    assert "PROBLEM" not in text


def test_wrong_results_are_a_problem(monkeypatch):
    real = doctor._plain_encoder
    monkeypatch.setattr(doctor, "_plain_encoder", lambda *args: real(*args) * (1.0 + 1e-3))
    healthy, lines = report_lines()
    assert not healthy
    assert any("PROBLEM: float32, relative error 1.0e-03" in line for line in lines)


def test_nan_is_a_problem(monkeypatch):
    real = doctor._plain_encoder
    monkeypatch.setattr(doctor, "_plain_encoder", lambda *args: real(*args) * np.nan)
    assert not report_lines()[0]


def test_missing_library(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "tf_fastbert"],
        env={"TF_FASTBERT_LIBRARY": str(tmp_path / "nowhere.so"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "PROBLEM: TF_FASTBERT_LIBRARY names" in process.stdout


@pytest.mark.parametrize("flag", ["--help", "--unknown"])
def test_command_line(flag):
    process = subprocess.run([sys.executable, "-m", "tf_fastbert", flag], capture_output=True, text=True, check=False)
    assert process.returncode == (0 if flag == "--help" else 2)
    assert "python -m tf_fastbert" in process.stdout + process.stderr
