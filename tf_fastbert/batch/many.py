"""The job in several processes of this machine, without Beam: one process a GPU, which takes shard after shard.

A process that dies (killed, out of memory) is replaced, and its shard goes to the next free one. A shard that fails three times is
left out and named at the end; all others are finished.
"""

from __future__ import annotations

import collections
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from tf_fastbert.batch import BatchError
from tf_fastbert.batch.job import Job
from tf_fastbert.batch.shards import Shard

_TRIES = 3


class Progress(NamedTuple):
    """What `run` tells while it works: rows that were answered, by which worker; a shard's end; or a note for the user."""

    worker: int
    rows: int = 0
    finished: Shard | None = None
    note: str = ""


@dataclasses.dataclass
class Summary:
    """What `run` did.

    Attributes:
      rows: answered in this run.
      seconds: from the first worker's readiness to the end.
      worker_rows, worker_seconds: by worker, loading not counted.
      deaths: processes that died.
      failed: shards that are not finished, and why.
    """

    rows: int = 0
    seconds: float = 0.0
    worker_rows: dict[int, int] = dataclasses.field(default_factory=dict)
    worker_seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    deaths: int = 0
    failed: dict[int, str] = dataclasses.field(default_factory=dict)


class _Worker:
    """A process that answers shards. `gpu` is what it sees in CUDA_VISIBLE_DEVICES; None: what this process sees."""

    def __init__(self, number: int, gpu: str | None, job: Job) -> None:
        # Not forked: TensorFlow, and CUDA more so, do not survive it.
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.shard: Shard | None = None
        self.answered = 0  # rows of that shard
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, gpu, job, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, shard: Shard) -> None:
        self.shard, self.answered = shard, 0
        try:
            self.pipe.send(shard)
        except OSError:
            pass  # it died; the end of its pipe says so too

    def stop(self) -> None:
        try:
            self.pipe.send(None)
        except OSError:
            pass
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()


def _work(pipe: Any, gpu: str | None, job: Job, parent: int) -> None:
    """A worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's affair
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before TensorFlow looks for GPUs
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from tf_fastbert.batch import answerer, watch, work

    watch.end_with(parent)
    try:
        task = answerer.load(job.model, job.options)
        pipe.send(("ready", None))
        while (shard := pipe.recv()) is not None:
            start = time.perf_counter()
            loaded = work.load(job, shard)
            answered = work.answer(task, loaded, job.options.chunk_rows, lambda rows: pipe.send(("rows", rows)))
            work.write(job, answered)
            pipe.send(("finished", time.perf_counter() - start))
    except (BrokenPipeError, EOFError):
        pass  # the parent is gone
    except Exception as error:
        pipe.send(("error", f"{type(error).__name__}: {error}"))


def run(
    job: Job, shards: Sequence[Shard], gpus: Sequence[str | None], tell: Any = lambda progress: None
) -> Summary:
    """Answers `shards`, with one process for each of `gpus`.

    Args:
      gpus: for each process the GPU that it uses, as in CUDA_VISIBLE_DEVICES; None: whatever is there.
      tell: called with a Progress now and then.

    Raises:
      BatchError: no worker can start.
    """
    waiting: deque[Shard] = deque(shards)
    tries: collections.Counter = collections.Counter()
    summary, start = Summary(), None
    workers = [_Worker(i, gpu, job) for i, gpu in enumerate(gpus[: len(shards)])]
    try:
        while workers:
            by_pipe: dict[Any, _Worker] = {worker.pipe: worker for worker in workers}
            for pipe in multiprocessing.connection.wait(list(by_pipe)):
                worker = by_pipe[pipe]
                try:
                    kind, value = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join(10)
                    kind, value = "died", f"its process ended with status {worker.process.exitcode}"
                if kind == "ready":
                    start = start or time.perf_counter()
                elif kind == "rows":
                    worker.answered += value
                    tell(Progress(worker.number, rows=value))
                    continue
                elif kind == "finished":
                    summary.rows += worker.answered
                    summary.worker_rows[worker.number] = summary.worker_rows.get(worker.number, 0) + worker.answered
                    summary.worker_seconds[worker.number] = summary.worker_seconds.get(worker.number, 0.0) + value
                    tell(Progress(worker.number, finished=worker.shard))
                    worker.shard = None
                else:
                    summary.deaths += kind == "died"
                    _bury(worker, value, waiting, tries, summary, tell)
                    workers.remove(worker)
                    worker.stop()
                    if waiting:
                        workers.append(_Worker(worker.number, gpus[worker.number], job))
                    continue
                if waiting:
                    worker.give(waiting.popleft())
                else:
                    workers.remove(worker)
                    worker.stop()
    finally:
        for worker in workers:
            worker.process.kill()
    summary.seconds = time.perf_counter() - start if start else 0.0
    return summary


def _bury(worker: _Worker, why: str, waiting: deque[Shard], tries: collections.Counter, summary: Summary, tell: Any) -> None:
    """Puts the shard of a worker that ended back, unless it has been tried often."""
    shard = worker.shard
    if shard is None:
        tries["loading"] += 1
        if tries["loading"] >= _TRIES:
            raise BatchError(f"worker {worker.number} cannot load the model: {why}")
        tell(Progress(worker.number, note=f"worker {worker.number} did not come up ({why}): it is started again"))
        return
    tries[shard.index] += 1
    if tries[shard.index] < _TRIES:
        waiting.appendleft(shard)
        what = "it is answered again"
    else:
        summary.failed[shard.index] = why
        what = f"it was the {_TRIES}rd time, the shard is left out"
    tell(Progress(worker.number, rows=-worker.answered))
    tell(Progress(worker.number, note=f"worker {worker.number} failed on shard {shard.index} ({why}): {what}"))
