"""SQuAD's features made while TensorFlow is being imported, and its answers while the model predicts, in processes beside.

The wrapper calls start() before anything heavy is imported. Each process (ahead_worker.py) reads the questions' file, makes the
features of its part, and hands them over when Google's main() asks for them; then it gets the logits of each batch and finds the
answers. The replacements of this package ask here first:

    examples()  <- read_squad_examples               windows()  <- convert_examples_to_features
    give()      <- TPUEstimator.predict              answers()  <- write_predictions

Each of them has nothing to give (None) where the work was not begun, where the arguments are others than those that the work was
begun with, where Google's main() is not the one that is known, or where a process failed; then it is done here, as ever.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import queue
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_MOST = 4  # processes; each reads the whole file and the vocabulary
_START = "import sys; sys.path.insert(0, sys.argv[1]); from tf_fastbert.pipeline import ahead_worker; ahead_worker.main()"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What the features depend on; the names are those of Google's flags. bert: the folder of Google's modules."""

    bert: str
    vocab_file: str
    do_lower_case: bool
    predict_file: str
    max_seq_length: int
    doc_stride: int
    max_query_length: int


class _Worker:
    """One process. Messages to it are sent by a thread, so that a slow one does not hold up the predictions."""

    def __init__(self, job: tuple[Any, ...]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, _ROOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin and self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._send_all, daemon=True)
        self._thread.start()
        self.send(job)

    def _send_all(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended: receive() tells
            while (message := self._messages.get()) is not _CLOSE:
                pickle.dump(message, self._to, protocol=pickle.HIGHEST_PROTOCOL)
                self._to.flush()

    def send(self, message: Any) -> None:
        self._messages.put(message)

    def receive(self) -> Any:
        """Its next message.

        Raises:
          _Failed: it has none.
        """
        try:
            message = pickle.load(self._from)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise _Failed from error
        if isinstance(message, str):
            raise _Failed(message)
        return message

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._messages.put(_CLOSE)
        self._process.kill()
        self._thread.join()
        for pipe in (self._to, self._from):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()


_CLOSE = object()


class _Failed(Exception):
    """A process has nothing to give."""


class _Examples(list):
    """The examples of all parts; a list like that of read_squad_examples."""


class _Work:
    """What was begun: features received once, options and logits sent on, answers received once."""

    def __init__(self, arguments: Arguments, parts: int) -> None:
        from tf_fastbert.pipeline.ahead_worker import Job

        self.arguments = arguments
        self.workers = [
            _Worker(Job(**dataclasses.asdict(arguments), part=part, parts=parts)) for part in range(parts)
        ]
        self.run_squad: Any = None
        self.examples: _Examples | None = None
        self.windows: list[Any] = []
        self.options: list[Any] | None = None  # of each part, once they have been sent
        self.given: list[int] = []  # unique ids

    def receive_features(self, run_squad: types.ModuleType) -> None:
        self.run_squad = run_squad
        examples = _Examples()
        self.starts: list[int] = []
        for worker in self.workers:
            features = worker.receive()
            self.starts.append(len(self.windows))
            for window in features.windows:
                window.example_index += len(examples)
            self.windows += features.windows
            examples += [
                run_squad.SquadExample(qas_id=qas_id, question_text=question, doc_tokens=doc_tokens)
                for qas_id, question, doc_tokens in features.examples
            ]
        first = self.windows[0].unique_id if self.windows else 0
        for index, window in enumerate(self.windows):
            window.unique_id = first + index
        self.first_unique_id = first
        self.examples = examples

    def give(self, unique_ids: np.ndarray, start_logits: np.ndarray, end_logits: np.ndarray) -> None:
        if self.options is None:
            from tf_fastbert.pipeline import ahead_worker, answers

            flags = self.run_squad.FLAGS
            self.options = [
                ahead_worker.Options(
                    self.first_unique_id + start, flags.n_best_size, flags.max_answer_length, flags.do_lower_case,
                    answers.threshold(self.run_squad),
                )
                for start in self.starts
            ]  # fmt: skip
            for worker, options in zip(self.workers, self.options):
                worker.send(options)
        self.given += unique_ids.tolist()
        rows = unique_ids - self.first_unique_id
        ends = [*self.starts[1:], len(self.windows)]
        for worker, start, end in zip(self.workers, self.starts, ends):
            mine = np.flatnonzero((rows >= start) & (rows < end))
            if mine.size:
                worker.send((unique_ids[mine], start_logits[mine], end_logits[mine]))

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


_work: _Work | None = None


@contextlib.contextmanager
def begun(arguments: Arguments | None) -> Iterator[None]:
    """Begins the work, if there are arguments for it, and ends the processes when the context is left."""
    global _work
    if arguments is not None:
        with contextlib.suppress(OSError):  # no process to be had
            _work = _Work(arguments, max(1, min(_MOST, (os.cpu_count() or 1) // 2)))
    try:
        yield
    finally:
        drop()


def drop() -> None:
    """Ends what was begun: it is done here instead."""
    global _work
    work, _work = _work, None
    if work is not None:
        work.close()


def examples(run_squad: types.ModuleType, input_file: str) -> list[Any] | None:
    """read_squad_examples(input_file, False)."""
    from tf_fastbert.pipeline import sources

    work = _work
    if work is None or work.examples is not None:
        return None
    if input_file != work.arguments.predict_file or not sources.known(run_squad, ("main", "tokenization", "get_final_text")):
        return drop()
    try:
        work.receive_features(run_squad)
    except _Failed:
        return drop()
    return work.examples


def windows(
    of_examples: Sequence[Any], tokenizer: Any, max_seq_length: int, doc_stride: int, max_query_length: int
) -> list[Any] | None:
    """The features of convert_examples_to_features."""
    work = _work
    if work is None or of_examples is not work.examples:
        return None
    wanted = (max_seq_length, doc_stride, max_query_length, bool(tokenizer.basic_tokenizer.do_lower_case))
    made_with = work.arguments
    if wanted != (made_with.max_seq_length, made_with.doc_stride, made_with.max_query_length, made_with.do_lower_case):
        return drop()
    return work.windows


def give(batch: Any) -> None:
    """Hands on the predictions of a batch."""
    work = _work
    if work is None or work.examples is None:
        return
    try:
        columns = [np.asarray(batch[name]) for name in ("unique_ids", "start_logits", "end_logits")]
    except (TypeError, KeyError):
        return drop()
    if [column.ndim for column in columns] != [1, 2, 2] or not all(c.dtype == np.float32 for c in columns[1:]):
        return drop()
    work.give(*columns)


def answers(
    run_squad: types.ModuleType,
    all_examples: Sequence[Any],
    all_features: Sequence[Any],
    all_results: Sequence[Any],
    n_best_size: int,
    max_answer_length: int,
    do_lower_case: bool,
) -> Any | None:
    """answers.Texts for the arguments of write_predictions."""
    from tf_fastbert.pipeline import answers as module

    work = _work
    if work is None or work.options is None:
        return None
    wanted = (n_best_size, max_answer_length, do_lower_case, module.threshold(run_squad))
    same = (
        all_examples is work.examples
        and len(all_features) == len(work.windows)
        and all(mine is theirs for mine, theirs in zip(work.windows, all_features))
        and [result.unique_id for result in all_results] == work.given
        and wanted == tuple(work.options[0][1:])
    )
    if not same:
        return drop()
    try:
        for worker in work.workers:
            worker.send(None)
        return module.joined([worker.receive() for worker in work.workers])
    except _Failed:
        return None
    finally:
        drop()
