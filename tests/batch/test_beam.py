"""tools/batch_answer.py on Beam's local runner: the same answers, and every row once when workers and the job are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")
pytest.importorskip("apache_beam", reason="apache-beam is not installed (extra: beam)")

from tests.batch.data import export_tiny, pairs, read_jsonl, squad_rows, write_jsonl
from tests.wrap import tiny_model

TOOL = tiny_model.REPO / "tools" / "batch_answer.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("beam")
    tiny_model.write_model(folder)
    export_tiny(folder, "squad")
    export_tiny(folder, "classifier")
    return folder


def command(folder: Path, task: str, rows: Path, output: str, *flags: str) -> list[str]:
    return [sys.executable, str(TOOL), f"--model={folder}/{task}", f"--input={rows}", f"--output_dir={folder}/{output}", *flags]


def run(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd="/", timeout=1200, check=False)


def test_one_process(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    tiny_model.write_squad(folder / "squad.json", 20)
    rows = squad_rows(folder / "squad.json")
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=8)
    done = run(folder, "squad", folder / "rows.parquet", "out", "--direct_num_workers=1", f"--merged_output={folder}/answers.jsonl")
    assert done.returncode == 0, done.stderr
    assert "20 answers for 20 ids, each once" in done.stderr
    answers = read_jsonl(folder / "answers.jsonl")
    assert [line["id"] for line in answers] == [row["id"] for row in rows]
    for line, row in zip(answers, rows, strict=True):
        assert line["answer"] in row["context"] and 0 < line["probability"] <= 1


def test_duplicates_and_flags(folder: Path) -> None:
    rows = write_jsonl(folder / "twice.jsonl", [*pairs(9), *pairs(2)])
    one = "--direct_num_workers=1"
    done = run(folder, "classifier", rows, "out_twice", one)
    assert done.returncode == 1 and "error: 2 ids are used more than once" in done.stderr and "'p1': row 2 of shard 0" in done.stderr
    done = run(folder, "classifier", rows, "out_skip", one, "--duplicates=skip")
    assert done.returncode == 0 and "2 rows with an id used before left out" in done.stderr, done.stderr
    assert "9 answers for 9 ids" in done.stderr
    done = run(folder, "classifier", rows, "out_flag", one, "--no_such_flag=3")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: --no_such_flag=3: neither this tool nor Beam knows that flag (--help lists ours)"


def _family(pid: int) -> list[int]:
    """A process and all that come from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    threads = [Path(path, "children").read_text().split() for path in Path(f"/proc/{pid}/task").iterdir()]
    return [pid, *(one for child in {*children, *sum(threads, [])} for one in _family(int(child)))]


def _workers(pid: int) -> list[int]:
    found = []
    for one in _family(pid):
        try:
            line = Path(f"/proc/{one}/cmdline").read_text()
        except OSError:
            continue
        if "sdk_worker_main" in line and not line.startswith("/bin/sh"):
            found.append(one)
    return found


def _wait(condition, what: str) -> None:
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(what)


@pytest.mark.slow
def test_killed_worker_and_killed_job(folder: Path) -> None:
    output = folder / "killed"
    rows = pairs(20_000)
    flags = ("--shard_mb=0.04", "--direct_num_workers=2", "--threads=1")
    line = command(folder, "classifier", write_jsonl(folder / "many.jsonl", rows), "killed", *flags)

    def finished() -> int:
        return len(list(output.glob("answers-*.jsonl")))

    with open(folder / "log", "w+") as log:
        process = subprocess.Popen(line, stderr=log, stdout=log, text=True, cwd="/", start_new_session=True)
        _wait(lambda: finished() >= 2, "nothing is answered")
        os.kill(_workers(process.pid)[0], signal.SIGKILL)
        before = finished()
        _wait(lambda: finished() >= before + 4, "it does not go on after a worker died")
        family = _family(process.pid)
        process.kill()  # the one that supervises; the others end by themselves
        process.wait()
        _wait(lambda: not any(os.path.exists(f"/proc/{one}") for one in family), "processes outlived their job")
        log.seek(0)
        text = log.read()
    assert "a worker process died (Worker subprocess exited with return code 137)" in text
    assert "tf_fastbert: going on from what is finished (attempt 2 of 4)" in text
    kept = {path: path.stat().st_mtime_ns for path in output.glob("answers-*.jsonl")}
    done = subprocess.run(line, capture_output=True, text=True, cwd="/", timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} shards are finished already" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert [line["id"] for line in read_jsonl(*sorted(output.glob("answers-*.jsonl")))] == [row["id"] for row in rows]
    summary = json.loads((output / "summary.json").read_text())
    assert summary["rows"] == summary["answers"] == 20_000
