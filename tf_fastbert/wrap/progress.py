"""A progress bar around the Estimator's predict and evaluate, and how long they took.

TPUEstimator's two methods are replaced while Google's main() runs: a SessionRunHook in the session times each batch and reads
its size from the input pipeline, so that building the graph, loading the checkpoint and Google's own pre- and post-processing
are not counted, and neither is the first batch, which warms up memory, threads and prepared weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import tensorflow.compat.v1 as tf
from tqdm import tqdm

_LOG_EVERY_S = 15.0


@dataclasses.dataclass
class Loop:
    """One prediction or evaluation loop.

    Attributes:
      name: "predict" or "evaluate".
      examples: how many examples went through the model (for SQuAD: features, as Google counts them), the last partial batch
        included.
      first_batch_examples, first_batch_seconds: of the first batch, which warms up.
      seconds: from the end of the first batch to the end of the last one.
    """

    name: str
    examples: int = 0
    first_batch_examples: int = 0
    first_batch_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def examples_per_second(self) -> float:
        """Without the first batch; of the first batch if there is no other."""
        if self.seconds > 0:
            return (self.examples - self.first_batch_examples) / self.seconds
        return self.examples / self.first_batch_seconds if self.first_batch_seconds else 0.0

    def line(self) -> str:
        """One line for the log."""
        return (
            f"{self.name}: {self.examples} examples, {self.examples_per_second:.1f} examples/s ({self.seconds:.2f} s after the "
            f"first batch, which had {self.first_batch_examples} and took {self.first_batch_seconds:.2f} s)"
        )


class Bar:
    """Shows how far a loop is: a bar on a terminal, else a line every 15 seconds or so."""

    def __init__(self, name: str, total: int | None, stream: TextIO | None = None) -> None:
        self._name, self._total = name, total
        self._stream = sys.stderr if stream is None else stream
        self._bar = tqdm(total=total, desc=name, unit=" examples", file=self._stream) if self._stream.isatty() else None
        self._done, self._start = 0, time.monotonic()
        self._next_line = self._start + _LOG_EVERY_S

    def add(self, examples: int) -> None:
        """Counts `examples` more."""
        self._done += examples
        if self._bar is not None:
            self._bar.update(examples)
        elif time.monotonic() >= self._next_line:
            now = time.monotonic()
            self._next_line = now + _LOG_EVERY_S
            of = f" of {self._total}" if self._total else ""
            rate = self._done / (now - self._start)
            left = f", {(self._total - self._done) / rate:.0f} s left" if self._total else ""
            print(f"{self._name}: {self._done}{of} examples, {rate:.1f}/s{left}", file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar's line."""
        if self._bar is not None:
            self._bar.close()


class _BatchTimer(tf.train.SessionRunHook):
    """Fills a Loop and moves a Bar, batch by batch; the bar is made, if wanted, when the session is ready."""

    def __init__(self, loop: Loop, make_bar: Callable[[], Bar | None], mark: Callable[[str], None]) -> None:
        self._loop, self._make_bar, self._mark = loop, make_bar, mark
        self.bar: Bar | None = None
        self._batch_size: Any = None
        self._before = self._first_end = 0.0

    def begin(self) -> None:
        # Google's scripts have one input iterator; the last batch out of it may be smaller than the rest. A graph that is fed in
        # another way (a local copy that somebody changed) is counted in batches.
        iterators = [op for op in tf.get_default_graph().get_operations() if op.type == "IteratorGetNext"]
        self._batch_size = tf.shape(iterators[0].outputs[0])[0] if iterators else tf.constant(1)

    def after_create_session(self, session: Any, coord: Any) -> None:
        # Not earlier: its rate would count the time of building the graph.
        self.bar = self._make_bar()
        self._mark("graph")

    def before_run(self, run_context: Any) -> Any:
        self._before = time.perf_counter()
        return tf.train.SessionRunArgs(self._batch_size)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        now, examples, loop = time.perf_counter(), int(run_values.results), self._loop
        if not loop.examples:
            self._first_end = now
            loop.first_batch_examples, loop.first_batch_seconds = examples, now - self._before
        loop.examples += examples
        loop.seconds = now - self._first_end
        if self.bar is not None:
            self.bar.add(examples)


@contextlib.contextmanager
def watched(
    estimator: type, total: Callable[[str], int | None], *, show: bool, mark: Callable[[str], None] = lambda part: None
) -> Iterator[list[Loop]]:
    """Within the context `estimator`'s predict and evaluate are timed, with a progress bar if `show`.

    Args:
      estimator: TPUEstimator, the class.
      total: "predict" or "evaluate" -> the number of examples, if known; called when the loop starts.
      mark: called when a part of the run ends: "features" (all before a method is called), "training", "graph" (with loading the
        checkpoint), "prediction", "evaluation".

    Yields:
      The list of loops, filled as they end.
    """
    loops: list[Loop] = []
    originals = {name: getattr(estimator, name) for name in ("predict", "evaluate", "train") if hasattr(estimator, name)}

    @contextlib.contextmanager
    def timed(name: str, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Callable[[], Any]]:
        """Yields the call of the original method with our hook among its hooks."""
        mark("features")
        loop = Loop(name)
        timer = _BatchTimer(loop, lambda: Bar(name, total(name)) if show else None, mark)
        call = inspect.signature(originals[name]).bind(self, *args, **kwargs)
        call.arguments["hooks"] = [*(call.arguments.get("hooks") or []), timer]
        try:
            yield lambda: originals[name](*call.args, **call.kwargs)
            loops.append(loop)
            mark({"predict": "prediction", "evaluate": "evaluation"}[name])
        finally:
            if timer.bar is not None:
                timer.bar.close()

    def predict(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with timed("predict", self, args, kwargs) as call:
            yield from call()

    def evaluate(self: Any, *args: Any, **kwargs: Any) -> Any:
        with timed("evaluate", self, args, kwargs) as call:
            return call()

    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        mark("features")
        result = originals["train"](self, *args, **kwargs)
        mark("training")
        return result

    for name, method in (("predict", predict), ("evaluate", evaluate), ("train", train)):
        if name in originals:
            setattr(estimator, name, functools.wraps(originals[name])(method))
    try:
        yield loops
    finally:
        for name, method in originals.items():
            setattr(estimator, name, method)


def count_records(path: str) -> int | None:
    """Number of records in a TFRecord file, from the lengths alone; None if there is no such (local) file."""
    if not os.path.isfile(path):
        return None
    count, size = 0, os.path.getsize(path)
    with open(path, "rb") as file:
        while header := file.read(8):
            # length (8 bytes), its checksum (4), the record, its checksum (4)
            file.seek(4 + struct.unpack("<Q", header)[0] + 4, os.SEEK_CUR)
            if file.tell() > size:
                return None
            count += 1
    return count


def write_timing(path: str, mode: str, loops: list[Loop], settings: dict[str, Any]) -> dict[str, Any]:
    """Writes the times of `loops` as JSON, and returns them.

    Args:
      mode: "stock" or "fastbert".
      settings: further keys, such as floatx and remove_padding.

    Returns:
      mode, examples, seconds, examples_per_second, first_batch_examples and first_batch_seconds (sums over the loops), the
      settings, and "loops" with the same for each loop. examples counts all; seconds and examples_per_second leave the first
      batch out.
    """
    counted = sum(loop.examples - loop.first_batch_examples for loop in loops)
    seconds = sum(loop.seconds for loop in loops)
    timing = {
        "mode": mode,
        "examples": sum(loop.examples for loop in loops),
        "seconds": seconds,
        "examples_per_second": counted / seconds if seconds else sum(loop.examples_per_second for loop in loops) / len(loops),
        "first_batch_examples": sum(loop.first_batch_examples for loop in loops),
        "first_batch_seconds": sum(loop.first_batch_seconds for loop in loops),
        **settings,
        "loops": [{**dataclasses.asdict(loop), "examples_per_second": loop.examples_per_second} for loop in loops],
    }
    write_json(path, timing)
    return timing


def write_json(path: str, content: Any) -> None:
    """Writes `content` as JSON, whole or not at all."""
    # Written beside and renamed; through TensorFlow, as --output_dir may be remote.
    with tf.gfile.GFile(f"{path}.new", "w") as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    tf.gfile.Rename(f"{path}.new", path, overwrite=True)
