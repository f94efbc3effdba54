"""The job as Apache Beam pipelines: look for duplicates, answer, verify. They run on any of Beam's runners.

A shard is an element: it is read, answered by RunInference and written by steps that every runner fuses, so that its output
appears while others are still computed, and a job that was stopped goes on where it was. Its answers need no shuffle. The model
is loaded once in a worker process, by RunInference's own sharing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from tf_fastbert.batch import answerer, check, files, watch, work
from tf_fastbert.batch.job import Job
from tf_fastbert.batch.shards import Shard

_FOLDER = "beam"  # of what the pipelines tell the launching process


class ShardHandler(ModelHandler[work.Loaded, work.Answered, answerer.Task]):
    """RunInference's handler: an element is a shard with its rows.

    Args:
      ends_with: process of this machine with which a worker ends too; None on clusters, whose runner sees to that.
    """

    def __init__(self, job: Job, ends_with: int | None = None) -> None:
        super().__init__()
        self._job, self._ends_with = job, ends_with

    def load_model(self) -> answerer.Task:
        if self._ends_with is not None:
            watch.end_with(self._ends_with)
        return answerer.load(self._job.model, self._job.options)

    def run_inference(
        self, batch: Sequence[work.Loaded], model: answerer.Task, inference_args: dict[str, Any] | None = None
    ) -> Iterable[work.Answered]:
        rows = beam.metrics.Metrics.counter("tf_fastbert", "rows")
        for loaded in batch:
            yield work.answer(model, loaded, self._job.options.chunk_rows, rows.inc)

    def batch_elements_kwargs(self) -> dict[str, Any]:
        return {"max_batch_size": 1}  # a shard is a batch already, of more rows than the model takes at once

    def get_num_bytes(self, batch: Sequence[work.Loaded]) -> int:
        return sum(len(row.first) + len(row.second) for loaded in batch for row in loaded.rows)

    def get_metrics_namespace(self) -> str:
        return "tf_fastbert"


def _spread(pipeline: beam.Pipeline, shards: Sequence[Shard]) -> Any:
    # Reshuffle: a runner that fused the steps below with Create would do all of it in one worker.
    return pipeline | beam.Create(list(shards)) | beam.Reshuffle()


def _folder(job: Job) -> str:
    folder = files.join(job.folder, _FOLDER)
    files.make_folder(folder)
    return folder


def _lines(folder: str, name: str) -> Iterator[Any]:
    for file in files.match(files.join(folder, f"{name}-*-of-*")):
        yield from map(json.loads, files.read(file.path).splitlines())


def find_duplicates(job: Job, options: PipelineOptions) -> check.Checked:
    """Looks at all rows, on the runner."""
    folder = _folder(job)

    def scanned(item: Any) -> bool:
        return isinstance(item, check.Scanned)

    with beam.Pipeline(options=options) as pipeline:
        items = _spread(pipeline, job.shards) | "Scan" >> beam.FlatMap(check.scan, job.fields)
        _ = (
            items
            | beam.Filter(scanned)
            | "Scanned" >> beam.Map(json.dumps)
            | beam.io.WriteToText(files.join(folder, "scanned"))
        )
        _ = (
            items
            | "Ids" >> beam.Filter(lambda item: not scanned(item))
            | beam.GroupByKey()
            | beam.MapTuple(lambda row_id, places: (row_id, list(places)))
            | "Several" >> beam.Filter(lambda item: len(item[1]) > 1)
            | "Duplicates" >> beam.Map(json.dumps)
            | "WriteDuplicates" >> beam.io.WriteToText(files.join(folder, "duplicates"))
        )
    return check.gather([check.Scanned(*line) for line in _lines(folder, "scanned")], _lines(folder, "duplicates"))


def answer(job: Job, options: PipelineOptions, ends_with: int | None = None) -> int:
    """Answers the shards that have no output yet; returns how many there were."""
    shards = job.unfinished()
    if shards:
        with beam.Pipeline(options=options) as pipeline:
            _ = (
                _spread(pipeline, shards)
                | "Read" >> beam.Map(lambda shard: work.load(job, shard))
                | RunInference(ShardHandler(job, ends_with))
                | "Write" >> beam.Map(lambda answered: work.write(job, answered))
            )
    return len(shards)


def verify(job: Job, options: PipelineOptions) -> list[dict[str, Any]]:
    """Compares the ids of all outputs with the input's; see work.verify."""
    folder = _folder(job)
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            _spread(pipeline, job.shards)
            | "Verify" >> beam.Map(lambda shard: json.dumps(work.verify(job, shard)))
            | beam.io.WriteToText(files.join(folder, "verified"))
        )
    return sorted(_lines(folder, "verified"), key=lambda result: result["shard"])
