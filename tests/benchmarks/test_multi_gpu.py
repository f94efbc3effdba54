"""benchmarks/multi_gpu.py without a GPU: a process for each, started together, measured alone and together; its failures."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cuda.fake import FakeCuda

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "multi_gpu.py"
# The stand-in shows one GPU; a GPU that is named twice gets two processes.
FLAGS = ("--model=minilm", "--shape=2x16", "--seconds=0.3")


def test_two_processes(fake_cuda: FakeCuda, tmp_path: Path) -> None:
    result = fake_cuda.run(SCRIPT, *FLAGS, "--gpus=0,0", f"--output={tmp_path}/report.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert [run["gpus"] for run in report["runs"]] == [["0"], ["0"], ["0", "0"]]
    assert report["largest_difference"] == 0 and len(report["devices"]) == 2
    for run in report["runs"]:
        rates = [2 * calls / seconds for calls, seconds in zip(run["calls"], run["seconds"])]
        assert run["of_each"] == pytest.approx(rates) and run["sequences_per_second"] == pytest.approx(sum(rates))
        assert all(seconds >= 0.3 for seconds in run["seconds"]) and min(run["calls"]) > 0
    alone = sum(run["sequences_per_second"] for run in report["runs"][:2]) / 2
    assert report["scaling"] == {"2": pytest.approx(report["runs"][2]["sequences_per_second"] / alone)}
    assert "GPU 0: Fake GPU, driver for CUDA 13.0" in result.stdout
    assert "2 GPUs: " in result.stdout and "% of linear)" in result.stdout


def test_no_gpu(fake_cuda: FakeCuda) -> None:
    result = fake_cuda.run(SCRIPT, *FLAGS, FAKE_CUDA_NO_DEVICE="1")
    assert result.returncode == 1
    assert result.stderr.strip() == "error: there are 0 GPUs here, not one"


def test_a_gpu_that_is_not_there(fake_cuda: FakeCuda) -> None:
    result = fake_cuda.run(SCRIPT, *FLAGS, "--gpus=0,7")
    assert result.returncode == 1 and result.stderr.strip() == "error: there are 1 GPUs here, not 0, 7"


def test_a_process_that_fails_is_named(fake_cuda: FakeCuda, tmp_path: Path) -> None:
    broken = tmp_path / "site"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\nif any(a == '--worker=1' for a in sys.orig_argv):\n    print('out of memory', file=sys.stderr); os._exit(7)\n"
    )
    result = fake_cuda.run(SCRIPT, *FLAGS, "--gpus=0,0", f"--output={tmp_path}/r.json", PYTHONPATH=str(broken))
    assert result.returncode == 1
    assert "error: GPU 0: its process ended with 7 while making its encoder; it said: out of memory" in result.stderr
    assert "its process ended with 7" in json.loads((tmp_path / "r.json").read_text())["error"]


def test_a_process_that_hangs_is_ended(fake_cuda: FakeCuda, tmp_path: Path) -> None:
    broken = tmp_path / "site"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys, time\nif any(a == '--worker=0' for a in sys.orig_argv):\n    time.sleep(600)\n"
    )
    result = fake_cuda.run(SCRIPT, *FLAGS, "--gpus=0", "--timeout=2", PYTHONPATH=os.pathsep.join([str(broken)]))
    assert result.returncode == 1
    assert result.stderr.startswith("error: GPU 0: no answer in 2 s while making its encoder")
