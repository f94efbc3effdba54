"""A shard from its rows to its output file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tf_fastbert.batch import BatchError, files
from tf_fastbert.batch.answerer import Task
from tf_fastbert.batch.job import Job
from tf_fastbert.batch.rows import Row
from tf_fastbert.batch.shards import Bad, Shard, rows


class Loaded(NamedTuple):
    """A shard with its rows that get an answer."""

    shard: Shard
    rows: list[Row]


class Answered(NamedTuple):
    """A shard's answers: the lines of its output."""

    shard: Shard
    rows: list[Row]
    lines: list[str]


def answered_rows(job: Job, shard: Shard) -> Iterator[Row]:
    """The rows of a shard that get an answer.

    Raises:
      BatchError: a row is bad, and such rows are not to be skipped.
    """
    skipped = frozenset(job.skipped.get(shard.index, ()))
    for number, row in enumerate(rows(shard, job.fields)):
        if isinstance(row, Bad):
            if job.bad_rows == "error":
                raise BatchError(f"{row.where}: {row.why}")
        elif number not in skipped:
            yield row


def load(job: Job, shard: Shard) -> Loaded:
    return Loaded(shard, list(answered_rows(job, shard)))


def answer(task: Task, loaded: Loaded, chunk_rows: int, progress: Callable[[int], None] = lambda count: None) -> Answered:
    """Answers a shard's rows, some at a time; `progress` is told how many."""
    lines: list[str] = []
    for first in range(0, len(loaded.rows), chunk_rows):
        chunk = loaded.rows[first : first + chunk_rows]
        lines += [json.dumps(line, ensure_ascii=False) for line in task.answer(chunk)]
        progress(len(chunk))
    return Answered(loaded.shard, loaded.rows, lines)


def write(job: Job, answered: Answered) -> int:
    """Writes a shard's output and returns its number of answers.

    Raises:
      RuntimeError: an answer is missing or is not its row's: an error in this program; nothing is written.
    """
    shard, expected, lines = answered
    if len(lines) != len(expected) or any(json.loads(line)["id"] != row.id for line, row in zip(lines, expected)):
        raise RuntimeError(f"shard {shard.index} ({shard.path}): {len(lines)} answers for {len(expected)} rows, or other ids")
    files.write(job.output(shard.index), "".join(line + "\n" for line in lines).encode())
    return len(lines)


def verify(job: Job, shard: Shard) -> dict[str, Any]:
    """Compares the ids in a shard's output with those of its rows: {"shard", "rows", "problem": None or what is wrong}."""
    path = job.output(shard.index)
    result: dict[str, Any] = {"shard": shard.index, "rows": 0, "problem": None}
    try:
        there = [json.loads(line)["id"] for line in files.read(path).splitlines()]
    except (OSError, ValueError, KeyError) as error:
        return {**result, "problem": f"{path} cannot be read: {error!r}"}
    expected = [row.id for row in answered_rows(job, shard)]
    result["rows"] = len(there)
    if there != expected:
        at = next((i for i, pair in enumerate(zip(there, expected)) if pair[0] != pair[1]), min(len(there), len(expected)))
        result["problem"] = f"{path} has {len(there)} answers for {len(expected)} rows; they differ from answer {at + 1} on"
    return result
