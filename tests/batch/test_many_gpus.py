"""tools/run_many_gpus.py on the CPU: the wrappers' answers, and every row once when processes are killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.batch.data import export_tiny, pairs, read_jsonl, squad_rows, write_jsonl
from tests.wrap import tiny_model

TOOL = tiny_model.REPO / "tools" / "run_many_gpus.py"


def command(folder: Path, task: str, rows: Path, *flags: str) -> list[str]:
    return [
        sys.executable, str(TOOL), f"--model={folder}/{task}", f"--input={rows}", f"--output_dir={folder}/out_{task}",
        "--processes=2", "--threads=1", *flags,
    ]  # fmt: skip


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd="/", timeout=1200, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    tiny_model.write_model(folder)
    export_tiny(folder, "squad")
    export_tiny(folder, "classifier", labels=["no", "yes"])
    return folder


def test_questions_as_run_squad_wrap(folder: Path) -> None:
    tiny_model.write_squad(folder / "squad.json", 40)
    rows = write_jsonl(folder / "squad.jsonl", squad_rows(folder / "squad.json"))
    done = run(folder, "squad", rows, "--shard_mb=0.003", f"--merged_output={folder}/answers.jsonl", "--n_best=3", "--batch_size=5")
    assert done.returncode == 0, done.stderr
    assert "40 answers for 40 ids, each once" in done.stderr
    wrapper = tiny_model.run(
        "run_squad_wrap", *tiny_model.model_flags(folder), "--max_seq_length=48", "--doc_stride=16", "--max_query_length=16",
        "--do_predict=true", f"--predict_file={folder}/squad.json", f"--output_dir={folder}/wrap", "--predict_batch_size=8",
    )  # fmt: skip
    assert wrapper.returncode == 0, wrapper.stderr
    predictions = json.loads((folder / "wrap" / "predictions.json").read_text())
    nbest = json.loads((folder / "wrap" / "nbest_predictions.json").read_text())
    answers = read_jsonl(folder / "answers.jsonl")
    assert [line["id"] for line in answers] == list(predictions)
    for line in answers:
        best = nbest[line["id"]][:3]
        assert line["answer"] == predictions[line["id"]]
        assert line["probability"] == pytest.approx(best[0]["probability"], rel=1e-4)
        assert [entry["text"] for entry in line["n_best"]] == [entry["text"] for entry in best]


def test_pairs_as_run_classifier_wrap(folder: Path) -> None:
    mrpc = folder / "mrpc"
    mrpc.mkdir()
    tiny_model.write_mrpc(mrpc)
    with open(mrpc / "test.tsv", encoding="utf-8") as file:
        texts = [row[3:5] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]
    rows = [{"id": i, "text_a": first, "text_b": second} for i, (first, second) in enumerate(texts)]
    done = run(folder, "classifier", write_jsonl(folder / "mrpc.jsonl", rows), f"--merged_output={folder}/mrpc_answers.jsonl")
    assert done.returncode == 0, done.stderr
    wrapper = tiny_model.run(
        "run_classifier_wrap", *tiny_model.model_flags(folder), "--task_name=mrpc", f"--data_dir={mrpc}", "--max_seq_length=48",
        "--do_predict=true", f"--output_dir={folder}/wrap_mrpc",
    )  # fmt: skip
    assert wrapper.returncode == 0, wrapper.stderr
    want = [list(map(float, line.split())) for line in (folder / "wrap_mrpc" / "test_results.tsv").read_text().splitlines()]
    answers = read_jsonl(folder / "mrpc_answers.jsonl")
    assert [line["id"] for line in answers] == list(range(len(want)))
    for line, probabilities in zip(answers, want, strict=True):
        assert line["probabilities"] == pytest.approx(probabilities, abs=1e-5)
        assert line["label"] == ("yes" if probabilities[1] > probabilities[0] else "no")


def _workers(pid: int) -> list[int]:
    """Processes that a process has spawned, but Python's resource tracker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


def _wait_for(condition: Callable[[], bool], what: str, seconds: int = 300) -> None:
    for _ in range(10 * seconds):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"there was to be {what}")


def test_killed_processes(folder: Path, tmp_path: Path) -> None:
    output = folder / "out_classifier_killed"
    rows = pairs(12_000)
    line = command(folder, "classifier", write_jsonl(folder / "many.jsonl", rows), "--shard_mb=0.03")
    line = [f"--output_dir={output}" if flag.startswith("--output_dir") else flag for flag in line]

    def shards() -> int:
        return len(list(output.glob("answers-*.jsonl")))

    def errors() -> str:
        return (tmp_path / "stderr").read_text()

    # First a worker, then the whole job.
    with open(tmp_path / "stderr", "w") as stderr:
        process = subprocess.Popen(line, stderr=stderr, cwd="/")
    _wait_for(lambda: shards() >= 2, "two shards")
    victims = _workers(process.pid)
    assert len(victims) == 2
    os.kill(victims[0], signal.SIGKILL)
    ended, again = "its process ended with status -9): it is ", "answered again"
    _wait_for(lambda: ended in errors(), "a message that a process has ended")
    if ended + again not in errors():  # it was still loading: the other one has finished the two shards
        os.kill(victims[1], signal.SIGKILL)
    _wait_for(lambda: ended + again in errors(), "a message that a shard is answered again")
    finished = shards()
    _wait_for(lambda: shards() >= finished + 4, "four shards more")
    children = _workers(process.pid)
    process.kill()
    process.wait()
    _wait_for(lambda: not any(os.path.exists(f"/proc/{child}") for child in children), "no worker that outlives its job", 10)
    kept = {path: path.stat().st_mtime_ns for path in output.glob("answers-*.jsonl")}
    total = int(next(iter(kept)).name.split("-of-")[1].split(".")[0])
    assert finished + 4 <= len(kept) < total, "the job was to be killed in the middle"
    done = subprocess.run(line, capture_output=True, text=True, cwd="/", timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} shards are finished already and stay as they are" in done.stderr
    assert "12,000 answers for 12,000 ids, each once" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [line["id"] for line in read_jsonl(*sorted(output.glob("answers-*.jsonl")))] == [row["id"] for row in rows]
    assert json.loads((output / "summary.json").read_text())["answers"] == 12_000


def test_mistakes_are_one_line(folder: Path) -> None:
    rows = write_jsonl(folder / "twice.jsonl", [*pairs(3), *pairs(1)])
    for flags, message in (
        ([], "error: 1 ids are used more than once, the first of them:"),
        (["--processes=0"], "error: --processes=0: it must be positive"),
        (["--text_a=3"], "unrecognized arguments: --text_a=3"),
        (["--n_best=30"], "error: --n_best=30: only --n_best_size=20 answers are looked at"),
    ):
        done = run(folder, "classifier", rows, f"--output_dir={folder}/out_mistakes", *flags)
        assert done.returncode in (1, 2) and message in done.stderr and "Traceback" not in done.stderr, done.stderr
