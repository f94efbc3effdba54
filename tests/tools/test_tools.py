"""The command lines of tools/: what they print, their exit status, one clear error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tf_fastbert.checkpoint import Checkpoint, write_checkpoint

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def run(tool: str, *arguments) -> subprocess.CompletedProcess:
    # From another directory: the tools find the package by themselves.
    return subprocess.run(
        [sys.executable, TOOLS / tool, *map(str, arguments)], capture_output=True, text=True, cwd="/", check=False, timeout=300
    )


@pytest.fixture
def squad_files(tmp_path):
    qas = [
        {"id": "1", "question": "?", "answers": [{"text": "red", "answer_start": 0}]},
        {"id": "2", "question": "?", "answers": [{"text": "blue", "answer_start": 4}]},
    ]
    dataset, predictions = tmp_path / "dev.json", tmp_path / "predictions.json"
    dataset.write_text(json.dumps({"data": [{"paragraphs": [{"context": "red blue", "qas": qas}]}]}))
    predictions.write_text(json.dumps({"1": "The red."}))
    return dataset, predictions


def test_squad_evaluate_v1_1(squad_files):
    result = run("squad_evaluate_v1_1.py", *squad_files)
    assert result.returncode == 0
    assert json.loads(result.stdout) == {"exact_match": 50.0, "f1": 50.0}
    assert "Unanswered question 2 will receive score 0." in result.stderr


@pytest.mark.parametrize("threshold, status", [("50", 0), ("50.1", 1)])
def test_squad_evaluate_v1_1_with_a_threshold(squad_files, threshold, status):
    result = run("squad_evaluate_v1_1.py", *squad_files, threshold)
    assert result.returncode == status
    assert json.loads(result.stdout) == {"exact_match": 50.0, "f1": 50.0}
    assert ("error: F1 is 50.000, below 50.1" in result.stderr) == bool(status)


def test_squad_evaluate_v2_0(squad_files, tmp_path):
    (tmp_path / "odds.json").write_text('{"1": -3.5, "2": 0.5}')
    files = ("--na_prob_file", tmp_path / "odds.json", "--out_file", tmp_path / "out.json")
    result = run("squad_evaluate_v2_0.py", *squad_files, *files)
    assert result.returncode == 0, result.stderr
    scores = json.loads((tmp_path / "out.json").read_text())
    assert scores["exact"] == 50.0 and scores["total"] == 2 and scores["best_exact"] == 50.0
    result = run("squad_evaluate_v2_0.py", *squad_files, "--out_file", tmp_path / "none" / "out.json")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"error: cannot write {tmp_path}/none/out.json: No such file or directory"


@pytest.mark.parametrize("tool", ["squad_evaluate_v1_1.py", "squad_evaluate_v2_0.py"])
def test_evaluation_of_an_empty_file(tool, squad_files):
    squad_files[0].write_text("")
    result = run(tool, *squad_files)
    assert result.returncode == 1
    assert result.stderr == f"error: {squad_files[0]} is empty\n"


def test_ckpt_type_convert(tmp_path):
    write_checkpoint(str(tmp_path / "in"), {"w": np.ones(3, np.float32), "w/adam_m": np.ones(3, np.float32)})
    out = tmp_path / "out" / "model.ckpt"
    arguments = [f"--init_checkpoint={tmp_path / 'in'}", f"--fp16_checkpoint={out}"]
    result = run("ckpt_type_convert.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert "1 variables in float16, 0 kept as they were, 1 optimizer slots left out" in result.stdout
    assert Checkpoint(str(out)).read("w").dtype == np.float16
    (tmp_path / "in.data-00000-of-00001").write_bytes(b"")
    result = run("ckpt_type_convert.py", *arguments)
    assert result.returncode == 1
    assert f"error: checkpoint {tmp_path / 'in'}: variable w cannot be read" in result.stderr
    assert "Traceback" not in result.stderr


def test_ckpt_from_huggingface_names_what_is_missing(tmp_path):
    result = run("ckpt_from_huggingface.py", f"--model_dir={tmp_path}", f"--output_dir={tmp_path / 'out'}")
    assert result.returncode == 1
    assert "config.json does not exist" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "tool", ["ckpt_type_convert.py", "ckpt_from_huggingface.py", "squad_evaluate_v1_1.py", "squad_evaluate_v2_0.py"]
)
def test_help(tool):
    result = run(tool, "--help")
    assert result.returncode == 0
    assert f"python tools/{tool}" in result.stdout
