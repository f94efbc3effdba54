"""The process behind ahead.py: a part of a SQuAD file's features, then that part's answers. It imports no TensorFlow.

Objects are pickled in both directions. From the parent: the job; then, once it has the features, Options; then (unique ids,
start logits, end logits) for batches in any order; then None. To the parent: Features; then the answers as answers.Texts, or a str
that says why there are none.
"""

from __future__ import annotations

import ast
import collections
import gc
import importlib.util
import json
import os
import pickle
import sys
import types
from typing import Any, BinaryIO, NamedTuple

from tf_fastbert.pipeline import answers, records, squad_features
from tf_fastbert.pipeline.windows import Window
from tf_fastbert.pipeline.words import WordTokenizer, faster

_CHUNK = 400  # examples whose answers are looked for together: NumPy's arrays are long, and most of the work is done before the end


class Job(NamedTuple):
    """What to make.

    bert: the folder of Google's modules. part, parts: which of how many equal parts of the file's questions.
    """

    bert: str
    vocab_file: str
    do_lower_case: bool
    predict_file: str
    max_seq_length: int
    doc_stride: int
    max_query_length: int
    part: int
    parts: int


class Features(NamedTuple):
    """examples: (id, question, words of the paragraph). windows: numbered from the part's first on, with `encoded_inputs`."""

    examples: list[tuple[str, str, list[str]]]
    windows: list[Window]


class Options(NamedTuple):
    """Of write_predictions. first_unique_id: of the part's windows, which are numbered from there on. threshold: None for SQuAD
    1.1."""

    first_unique_id: int
    n_best_size: int
    max_answer_length: int
    do_lower_case: bool
    threshold: float | None


def load_tokenization(folder: str) -> types.ModuleType:
    """Google's tokenization.py with a stand-in for what it has of TensorFlow: reading the vocabulary."""
    stand_in = types.ModuleType("tensorflow.compat.v1")
    stand_in.gfile = types.SimpleNamespace(GFile=lambda name, mode="r": open(name, mode))
    for name in ("tensorflow", "tensorflow.compat", "tensorflow.compat.v1"):
        sys.modules[name] = stand_in
    stand_in.compat = types.SimpleNamespace(v1=stand_in)
    stand_in.v1 = stand_in
    spec = importlib.util.spec_from_file_location("tokenization", os.path.join(folder, "tokenization.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["tokenization"] = module
    spec.loader.exec_module(module)
    flags = getattr(module, "FLAGS", None)
    if flags is not None:
        flags.mark_as_parsed()
    return module


def load_final_text(folder: str, tokenization: types.ModuleType) -> Any:
    """get_final_text alone of Google's run_squad.py, which as a whole needs TensorFlow."""
    import six

    path = os.path.join(folder, "run_squad.py")
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "get_final_text"]
    names = {
        "tokenization": tokenization,
        "collections": collections,
        "six": six,
        "FLAGS": types.SimpleNamespace(verbose_logging=False),
    }
    exec(compile(tree, path, "exec"), names)
    return names["get_final_text"]


def make_features(job: Job, tokenization: types.ModuleType) -> Features:
    """The part's examples and windows."""
    tokenizer = tokenization.FullTokenizer(vocab_file=job.vocab_file, do_lower_case=job.do_lower_case)
    words = faster(tokenizer, tokenization)
    if not isinstance(words, WordTokenizer):
        raise ValueError("Google's tokenizer is not the one that is known")
    with open(job.predict_file, encoding="utf-8") as file:
        data = json.load(file)["data"]
    count = sum(len(paragraph["qas"]) for entry in data for paragraph in entry["paragraphs"])
    first, last = (count * part // job.parts for part in (job.part, job.part + 1))
    examples = list(squad_features.questions(data))[first:last]
    texts = ((question, doc_tokens, False) for _, question, doc_tokens in examples)
    windows = list(squad_features.make_windows(texts, words, job.max_seq_length, job.doc_stride, job.max_query_length))
    for window in windows:
        window.encoded_inputs = records.encode_inputs(window)
    return Features(examples, windows)


class _Example(NamedTuple):
    qas_id: str
    doc_tokens: list[str]


class _Result(NamedTuple):
    start_logits: list[float]
    end_logits: list[float]


class Answers:
    """Finds the answers of examples as soon as all of their windows have results."""

    def __init__(self, run_squad: Any, features: Features, options: Options) -> None:
        """
        Args:
          run_squad: has tokenization, get_final_text and FLAGS of Google's module.
        """
        self._run_squad, self._options = run_squad, options
        self._examples = [_Example(qas_id, doc_tokens) for qas_id, _, doc_tokens in features.examples]
        self._windows: list[list[Window]] = [[] for _ in self._examples]
        self._of: dict[int, int] = {}
        for number, window in enumerate(features.windows):
            window.unique_id = options.first_unique_id + number
            self._of[window.unique_id] = window.example_index
            self._windows[window.example_index].append(window)
        self._missing = [len(windows) for windows in self._windows]
        self._results: dict[int, _Result] = {}
        self._texts: list[answers.Texts] = []
        self._done = 0  # examples
        self._ready = 0

    def add(self, unique_ids: Any, start_logits: Any, end_logits: Any) -> None:
        """Takes rows of logits, float32 [n, length]; windows of other parts are left out."""
        for row, unique_id in enumerate(unique_ids.tolist()):
            example = self._of.get(unique_id)
            if example is not None:
                self._results[unique_id] = _Result(start_logits[row].tolist(), end_logits[row].tolist())
                self._missing[example] -= 1
        while self._ready < len(self._missing) and self._missing[self._ready] == 0:
            self._ready += 1
        if self._ready - self._done >= _CHUNK:
            self._find()

    def _find(self) -> None:
        first, last = self._done, self._ready
        windows = self._windows[first:last]
        self._texts.append(
            answers.find_texts(
                self._run_squad,
                self._examples[first:last],
                windows,
                self._results,
                self._options.n_best_size,
                self._options.max_answer_length,
                self._options.do_lower_case,
                self._options.threshold,
            )
        )
        for window in (window for group in windows for window in group):
            del self._results[window.unique_id]
        self._done = last

    def finish(self) -> answers.Texts:
        """The texts of all examples.

        Raises:
          ValueError: results are missing.
        """
        if self._ready < len(self._missing) or any(self._missing):
            raise ValueError("results of some windows never came")
        self._find()
        return answers.joined(self._texts)


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """What the process does, from the job to the answers."""

    def send(value: Any) -> None:
        pickle.dump(value, target, protocol=pickle.HIGHEST_PROTOCOL)
        target.flush()

    job: Job = pickle.load(source)
    try:
        tokenization = load_tokenization(job.bert)
        features = make_features(job, tokenization)
    except Exception as error:  # the parent then does it all itself, and meets what is wrong
        send(f"{type(error).__name__}: {error}")
        return
    send(features)
    options: Options | None = pickle.load(source)
    if options is None:
        return
    flags = types.SimpleNamespace(verbose_logging=False)
    run_squad = types.SimpleNamespace(
        tokenization=tokenization, get_final_text=load_final_text(job.bert, tokenization), FLAGS=flags
    )
    problem: str | None = None
    found = Answers(run_squad, features, options)
    while (batch := pickle.load(source)) is not None:
        try:
            if problem is None:
                found.add(*batch)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
    try:
        send(problem or found.finish())
    except Exception as error:
        send(f"{type(error).__name__}: {error}")


def main() -> None:
    """Serves the process's standard input and output."""
    gc.disable()  # lists and dictionaries by the ten thousand, all of them kept
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not come between
    try:
        serve(source, target)
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass  # the parent has ended, or is ending
