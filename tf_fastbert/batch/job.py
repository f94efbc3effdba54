"""A job's folder: job.json says what is computed, answers-00000-of-00012.jsonl are its finished shards, summary.json closes it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection
from typing import Any

from tf_fastbert.batch import BatchError, files
from tf_fastbert.batch import model as models
from tf_fastbert.batch.answerer import Options
from tf_fastbert.batch.rows import Fields
from tf_fastbert.batch.shards import Shard, plan

_DESCRIPTION = "job.json"
SUMMARY, CHECK = "summary.json", "check.json"
POLICIES = ("error", "skip")


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be answered, by what and where the answers go. It travels to the workers.

    Attributes:
      folder: of the output.
      model: folder of the SavedModel.
      task: "squad" or "classifier".
      shards: all of them, by index.
      skipped: shard index -> numbers, counted in the shard, of rows that get no answer because an earlier row has their id.
      bad_rows: "error" or "skip": what happens to rows that cannot be answered.
    """

    folder: str
    model: str
    task: str
    fields: Fields
    options: Options
    shards: tuple[Shard, ...]
    bad_rows: str = "error"
    skipped: dict[int, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def output(self, index: int) -> str:
        """The path of a shard's answers."""
        return files.join(self.folder, f"answers-{index:05d}-of-{len(self.shards):05d}.jsonl")

    def finished(self) -> set[int]:
        """The shards whose answers are there."""
        there = {file.path for file in files.match(files.join(self.folder, f"answers-*-of-{len(self.shards):05d}.jsonl"))}
        return {shard.index for shard in self.shards if self.output(shard.index) in there}

    def unfinished(self) -> list[Shard]:
        done = self.finished()
        return [shard for shard in self.shards if shard.index not in done]


def open_job(
    folder: str,
    model: str,
    patterns: Collection[str],
    options: Options,
    *,
    shard_bytes: int,
    id_field: str = "id",
    first_field: str | None = None,
    second_field: str | None = None,
    bad_rows: str = "error",
    duplicates: str = "error",
) -> Job:
    """Begins a job, or goes on with the one that is in `folder`.

    Args:
      patterns: paths and patterns of the input.
      bad_rows, duplicates: "error" or "skip"; of duplicates the first one is answered.

    Raises:
      BatchError: a file or an option is wrong, or `folder` has another job.
    """
    settings = models.settings_of(model)
    merged = options.merged(settings)
    if merged.max_seq_length > settings.max_position_embeddings:
        raise BatchError(
            f"--max_seq_length={merged.max_seq_length}: the model has {settings.max_position_embeddings} positions "
            "(max_position_embeddings)"
        )
    if settings.task == "squad" and merged.max_seq_length <= merged.max_query_length + 3:
        raise BatchError(
            f"--max_seq_length={merged.max_seq_length}: it must be greater than --max_query_length ({merged.max_query_length}) "
            "plus 3"
        )
    fields = Fields.of(settings.task, id_field, first_field, second_field)
    shards = tuple(plan(list(patterns), shard_bytes))
    job = Job(folder, model, settings.task, fields, options, shards, bad_rows)
    description = {
        "task": settings.task,
        "model": _fingerprint(model),
        "fields": dataclasses.asdict(fields),
        "options": {name: value for name, value in dataclasses.asdict(options).items() if name not in _WITHOUT_EFFECT},
        "bad_rows": bad_rows,
        "duplicates": duplicates,
        "input": [list(file) for file in _inputs(shards)],
        "shards": hashlib.sha256(repr(shards).encode()).hexdigest()[:16],
    }
    files.make_folder(folder)
    path, found = files.join(folder, _DESCRIPTION), files.join(folder, CHECK)
    if files.match(files.join(folder, "answers-*.jsonl")):
        if not files.exists(path):
            raise BatchError(f"--output_dir={folder} has answers of something else (there is no {_DESCRIPTION}): name another one")
        _check_same(path, description)
    elif not files.exists(path) or json.loads(files.read(path)) != description:
        # Nothing is answered yet, so the job may change: its input may have been mended.
        if files.exists(found):
            files.remove(found)
        files.write(path, (json.dumps(description, indent=2) + "\n").encode())
    return job


def tidy(job: Job) -> None:
    """Removes what processes that were killed had begun to write."""
    for file in files.match(files.join(job.folder, "answers-*.writing")):
        files.remove(file.path)


# Options that may change between a job's beginning and its end: they change no answer.
_WITHOUT_EFFECT = ("batch_size", "chunk_rows", "threads")


def _inputs(shards: Collection[Shard]) -> list[files.File]:
    return [file for path in dict.fromkeys(shard.path for shard in shards) for file in files.match(path)]


def _fingerprint(model: str) -> str:
    """TensorFlow writes one beside each SavedModel; it depends on all of the graph, constants included, and on its variables."""
    path = files.join(model, "fingerprint.pb")
    content = files.read(path if files.exists(path) else files.join(model, "saved_model.pb"))
    return hashlib.sha256(content).hexdigest()[:16]


def _check_same(path: str, description: dict[str, Any]) -> None:
    try:
        there = json.loads(files.read(path))
    except ValueError as error:
        raise BatchError(f"{path} cannot be read ({error}): name another --output_dir") from error
    for name, value in description.items():
        if there.get(name) != value:
            what = value if not isinstance(value, dict) else {k: v for k, v in value.items() if there.get(name, {}).get(k) != v}
            raise BatchError(
                f"{path} describes another job: its {name} differs (now {str(what)[:200]}). Finish that job with the flags it was "
                "begun with, or name another --output_dir"
            )


def merge(job: Job, path: str) -> None:
    """Puts the answers of all shards, in their order, into one file, which appears when it is complete."""
    import os
    import shutil

    temporary = f"{path}.writing"
    try:
        with open(temporary, "wb") as out:
            for shard in job.shards:
                with files.open_to_read(job.output(shard.index)) as file:
                    shutil.copyfileobj(file, out)
        os.replace(temporary, path)
    except OSError as error:
        raise BatchError(f"--merged_output={path}: {error.strerror}") from error
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
