"""examples/profile_transformer_inference.py with FasterTransformer's flags."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wrap.tiny_model import REPO, write_model

pytest.importorskip("bert", reason="bert-tensorflow is not installed")


def run(*arguments: str) -> subprocess.CompletedProcess:
    script = str(REPO / "examples" / "profile_transformer_inference.py")
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, cwd="/", timeout=300)


def test_the_guides_command(tmp_path: Path) -> None:
    write_model(tmp_path)
    result = run(
        f"--init_checkpoint={tmp_path}/bert_model.ckpt",
        "--tf_profile=false",
        f"--output_dir={tmp_path}",
        "--profiling_output_file=time_elapsed",
        "--xla=false",
        "--floatx=float32",
        "--remove_padding",
        "--max_seq_length=32",
        "--iterations=5",
    )
    assert result.returncode == 0, result.stderr[-2000:]
    times = json.loads((tmp_path / "time_elapsed").read_text())
    assert times["stock_ms"] > 0 and times["fastbert_ms"] > 0 and times["difference"] < 1e-4
    assert "tf_fastbert, float32, padding removed" in result.stdout


def test_a_checkpoint_of_another_type(tmp_path: Path) -> None:
    write_model(tmp_path)
    result = run(f"--init_checkpoint={tmp_path}", "--floatx=float16")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path}/bert_model.ckpt is float32, but --floatx is float16")
