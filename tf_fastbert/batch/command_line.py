"""The flags of tools/batch_answer.py and tools/run_many_gpus.py, and what they print."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tf_fastbert.batch import BatchError, check, files, job, work
from tf_fastbert.batch.answerer import Options
from tf_fastbert.batch.job import Job


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that both tools have."""
    add = parser.add_argument
    add("--model", required=True, metavar="DIR", help="SavedModel of tools/export_saved_model.py, for squad or classifier")
    add(
        "--input",
        required=True,
        nargs="+",
        metavar="FILE",
        help=".jsonl, .jsonl.gz or .parquet files, or patterns of them: rows with id, question and context (squad), or id, text_a "
        "and perhaps text_b (classifier)",
    )
    add("--output_dir", required=True, metavar="DIR", help="answers-*.jsonl appear here, a line for each row; a job goes on here")
    add("--merged_output", metavar="FILE", help="at the end, put all answers into this one file too, in the order of the input")
    add("--shard_mb", type=float, default=4.0, metavar="MB", help="size of a shard of the input (default: 4)")
    add("--bad_rows", choices=job.POLICIES, default="error", help="rows without the fields: stop, or leave them out")
    add("--duplicates", choices=job.POLICIES, default="error", help="ids used twice: stop, or answer the first row only")
    for name, meaning in {
        "id": "id",
        "first": "question, or text_a",
        "second": "context, or text_b",
    }.items():
        add(f"--{name}_field", metavar="NAME", default="id" if name == "id" else None, help=f"name of the field (default: {meaning})")
    add("--batch_size", type=int, default=32, metavar="N", help="texts that go through the model at once (default: 32)")
    add("--threads", type=int, default=0, metavar="N", help="threads of TensorFlow in a worker process (default: the cores)")
    add("--n_best", type=int, default=0, metavar="N", help="write that many best answers of each question too")
    add("--n_best_size", type=int, default=20, metavar="N", help="how many are looked at (default: 20)")
    for name in ("max_seq_length", "max_query_length", "doc_stride", "max_answer_length"):
        add(f"--{name}", type=int, metavar="N", help="default: what the model was exported with")
    add("--version_2_with_negative", action="store_true", help="SQuAD 2.0: a question may have no answer")
    add("--null_score_diff_threshold", type=float, default=0.0, metavar="X", help="with it: as in run_squad")
    add("--bert_dir", metavar="DIR", help="a copy of google-research/bert instead of the installed bert-tensorflow")


def open_job(arguments: argparse.Namespace) -> Job:
    """The job that the flags describe."""
    for name in ("batch_size", "n_best_size"):
        if getattr(arguments, name) < 1:
            raise BatchError(f"--{name}={getattr(arguments, name)}: it must be positive")
    if arguments.n_best > arguments.n_best_size:
        raise BatchError(f"--n_best={arguments.n_best}: only --n_best_size={arguments.n_best_size} answers are looked at")
    names = {field.name for field in dataclasses.fields(Options)}
    options = Options(**{name: value for name, value in vars(arguments).items() if name in names})
    return job.open_job(
        arguments.output_dir,
        arguments.model,
        arguments.input,
        options,
        shard_bytes=int(arguments.shard_mb * (1 << 20)),
        id_field=arguments.id_field,
        first_field=arguments.first_field,
        second_field=arguments.second_field,
        bad_rows=arguments.bad_rows,
        duplicates=arguments.duplicates,
    )


def say(line: str) -> None:
    print(f"tf_fastbert: {line}", file=sys.stderr, flush=True)


def checked(this: Job, duplicates: str, look: Callable[[], check.Checked]) -> tuple[Job, check.Checked]:
    """The job without the rows that get no answer; `look` is called unless an earlier run of the job has looked."""
    found = check.saved(this)
    if found is None:
        found = look()
        check.save(this, found)
    this = check.apply(this, found, duplicates)
    left_out = [f"{found.bad:,} bad rows"] * bool(found.bad) + [f"{found.surplus:,} rows with an id used before"] * bool(found.surplus)
    say(f"{found.rows:,} rows in {len(this.shards):,} shards" + (f", {' and '.join(left_out)} left out" if left_out else ""))
    done = len(this.finished())
    if done:
        say(f"{done:,} shards are finished already and stay as they are")
    return this, found


@contextmanager
def progress_of_shards(this: Job, seconds: float = 2.0) -> Iterator[None]:
    """A progress bar of the shards whose output is there, whoever writes it."""
    from tqdm import tqdm

    ended = threading.Event()
    with tqdm(total=len(this.shards), initial=len(this.finished()), desc="answering", unit="shard") as bar:

        def watch() -> None:
            while not ended.wait(seconds):
                bar.update(len(this.finished()) - bar.n)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            bar.update(len(this.finished()) - bar.n)


def close(this: Job, found: check.Checked, verified: Iterable[dict[str, Any]], details: dict[str, Any], merged: str | None) -> None:
    """The end: every row has its answer, or an error says which shards have not. Writes summary.json and the merged file."""
    results = list(verified)
    problems = [result["problem"] for result in results if result["problem"]]
    if problems:
        raise BatchError(f"{len(problems)} shards are not right, the first: {problems[0]}; remove its file and run this again")
    answers = sum(result["rows"] for result in results)
    expected = found.rows - found.bad - found.surplus
    if answers != expected or len(results) != len(this.shards):
        raise BatchError(f"{answers:,} answers in {len(results):,} shards for {expected:,} rows in {len(this.shards):,} shards")
    job.tidy(this)
    if merged:
        job.merge(this, merged)
    summary = {"rows": found.rows, "answers": answers, "bad_rows": found.bad, "surplus_rows": found.surplus, **details}
    files.write(files.join(this.folder, job.SUMMARY), (json.dumps(summary, indent=2) + "\n").encode())
    say(f"{answers:,} answers for {expected:,} ids, each once: {merged or this.folder}")


def verify_here(this: Job) -> Iterator[dict[str, Any]]:
    from tqdm import tqdm

    for shard in tqdm(this.shards, desc="verifying", unit="shard", leave=False):
        yield work.verify(this, shard)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start
