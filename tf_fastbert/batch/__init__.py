"""Question answering and classification over large files, in shards: one answer for each row, and a job that can be stopped.

    tools/batch_answer.py    on Apache Beam, from one process to a cluster
    tools/run_many_gpus.py   one process a GPU of this machine, without Beam

    rows.py          what a row of the input must have
    shards.py        the input cut into shards of JSONL bytes or Parquet rows, and their rows
    files.py         local files, and others through Beam's file systems
    job.py           a job's folder: its description, its output shards, what is left to do
    check.py         duplicate ids and bad rows, found before anything is computed
    model.py         a SavedModel of tools/export_saved_model.py as one callable
    answerer.py      rows -> answers: tokens and answers by tf_fastbert.pipeline, as in the wrappers
    work.py          a shard from its rows to its output file
    beam_job.py      the job as Beam pipelines: check, answer (RunInference), verify
    local_beam.py    Beam's local runner with worker processes, and what happens when one of them dies
    many.py          the job in several processes without Beam
    command_line.py  the tools' flags

An output shard appears when it is complete, by a rename; a shard that is there is never computed again. So whatever dies, running
the same command again finishes the job, and no answer is lost or doubled.
"""

from __future__ import annotations


class BatchError(Exception):
    """A mistake in the command line or in a file; the message names the culprit and what to do."""
