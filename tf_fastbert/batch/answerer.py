"""Rows -> answers: tokens, windows and the choice of answers are tf_fastbert.pipeline's, as in the wrappers."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from tf_fastbert.batch import BatchError
from tf_fastbert.batch import model as models
from tf_fastbert.batch.rows import Row
from tf_fastbert.export.settings import VOCAB, Settings, extra_file
from tf_fastbert.pipeline import answers, candidates, squad_features, words

# Windows are padded to a multiple of this: fewer different shapes for a GPU to make graphs for.
_ROUND_TO = 32
# A logit of padding that was not computed: the constant that the SavedModel gives padding.
_PADDING = -10000.0
_SCRIPTS = {"squad": "run_squad", "classifier": "run_classifier"}


@dataclasses.dataclass(frozen=True)
class Options:
    """How rows are answered. None: as the SavedModel's settings say.

    Attributes:
      batch_size: windows or sentences that go through the model at once.
      chunk_rows: rows that are tokenized, sorted by length and answered together; bounds the memory.
      threads: that TensorFlow may use in a process; 0: as many as there are cores.
      n_best: how many answers are written for a question, besides the answer itself; 0: none.
      n_best_size: how many answers are looked at, as in run_squad.
      version_2_with_negative, null_score_diff_threshold: as in run_squad.
      bert_dir: a copy of google-research/bert to be used instead of the installed bert-tensorflow.
    """

    batch_size: int = 32
    chunk_rows: int = 512
    threads: int = 0
    n_best: int = 0
    n_best_size: int = 20
    max_seq_length: int | None = None
    max_query_length: int | None = None
    doc_stride: int | None = None
    max_answer_length: int | None = None
    version_2_with_negative: bool = False
    null_score_diff_threshold: float = 0.0
    bert_dir: str | None = None

    def merged(self, settings: Settings) -> Settings:
        """The SavedModel's settings with what is given here."""
        names = ("max_seq_length", "max_query_length", "doc_stride", "max_answer_length")
        return dataclasses.replace(settings, **{n: getattr(self, n) for n in names if getattr(self, n) is not None})


class Task(Protocol):
    """Rows -> one dictionary for each, "id" first."""

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]: ...


def load(folder: str, options: Options) -> Task:
    """Loads the SavedModel and Google's modules; turns TensorFlow 2 behaviour off in this process.

    Raises:
      BatchError: the SavedModel is none of ours, or Google's code is not there.
    """
    settings = options.merged(models.settings_of(folder))
    script = google_script(settings.task, options.bert_dir)
    return make(models.load(folder, settings, options.threads), script, folder, settings, options)


def google_script(task: str, bert_dir: str | None) -> types.ModuleType:
    """Google's run_squad or run_classifier."""
    import tf_fastbert.compat

    tf_fastbert.compat.install()
    from absl import flags

    from tf_fastbert.wrap import google
    from tf_fastbert.wrap.errors import WrapError

    try:
        script = google.load(_SCRIPTS[task], bert_dir)
    except WrapError as error:
        raise BatchError(str(error)) from error
    if not flags.FLAGS.is_parsed():  # Google's tokenizer reads one
        flags.FLAGS.mark_as_parsed()
    return script


def make(call: models.Model, script: types.ModuleType, folder: str, settings: Settings, options: Options) -> Task:
    """The task of a loaded model. `script` is Google's run_squad or run_classifier."""
    tokenizer = script.tokenization.FullTokenizer(extra_file(folder, VOCAB), do_lower_case=settings.do_lower_case)
    tokenizer = words.faster(tokenizer, script.tokenization)
    kind = Questions if settings.task == "squad" else Sentences
    return kind(call, script, tokenizer, settings, options)


class Questions:
    """Question answering."""

    def __init__(
        self, call: models.Model, script: types.ModuleType, tokenizer: Any, settings: Settings, options: Options
    ) -> None:
        self._call, self._google, self._words, self._settings, self._options = call, script, tokenizer, settings, options

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """The answers, as predictions.json has them, with their probabilities among the n best."""
        version_2 = self._options.version_2_with_negative
        # A passage without a word has no window; Google's code answers so, and fails on it with SQuAD 2.0.
        found: list[dict[str, Any]] = [{"id": row.id, "answer": "" if version_2 else "empty"} for row in rows]
        examples = self._examples(rows)
        features = self._features(examples)
        settings = self._settings
        results = {result.unique_id: result for result in self._results([feature for group in features for feature in group])}
        try:
            texts = answers.find_texts(
                self._google, examples, features, results, self._options.n_best_size, settings.max_answer_length,
                settings.do_lower_case, self._options.null_score_diff_threshold if version_2 else None,
            )  # fmt: skip
        except candidates.Unusual as error:
            raise BatchError("the model's logits are not finite numbers; do its weights fit their type?") from error
        for example in examples:
            found[int(example.qas_id)].update(self._answer(texts, example.qas_id))
        return found

    def _examples(self, rows: Sequence[Row]) -> list[Any]:
        """SquadExamples of the rows whose passages have tokens; those of one passage share its words and stand together."""
        contexts: dict[str, list[dict[str, str]]] = {}
        for i, row in enumerate(rows):
            contexts.setdefault(row.second, []).append({"id": str(i), "question": row.first})
        paragraphs = [{"context": context, "qas": qas} for context, qas in contexts.items()]
        return [
            self._google.SquadExample(qas_id=qas_id, question_text=question, doc_tokens=doc_tokens)
            for qas_id, question, doc_tokens in squad_features.questions([{"paragraphs": paragraphs}])
            if self._words.encode_words(doc_tokens)[0]
        ]

    def _features(self, examples: Sequence[Any]) -> list[list[Any]]:
        """InputFeatures of the windows of each example."""
        settings = self._settings
        texts = ((example.question_text, example.doc_tokens, False) for example in examples)
        features: list[list[Any]] = [[] for _ in examples]
        for window in squad_features.make_windows(
            texts, self._words, settings.max_seq_length, settings.doc_stride, settings.max_query_length
        ):
            feature = window.as_google(self._google.InputFeatures)
            features[feature.example_index].append(feature)
        return features

    def _results(self, features: Sequence[Any]) -> list[Any]:
        results: list[Any] = []
        full = self._settings.max_seq_length
        for batch, start, end in _in_batches(self._call, features, self._options.batch_size, full):
            pad = [_PADDING] * (full - start.shape[1])
            results += [
                self._google.RawResult(feature.unique_id, first + pad, last + pad)
                for feature, first, last in zip(batch, start.tolist(), end.tolist())
            ]
        return results

    def _answer(self, texts: answers.Texts, qas_id: str) -> dict[str, Any]:
        """What a row's line has beside its id."""
        text, entries = json.loads(texts.predictions[qas_id]), json.loads(texts.nbest[qas_id])
        chosen = next((entry for entry in entries if entry["text"] == text), None)
        answer = {"answer": text, "probability": chosen["probability"] if chosen else 0.0}
        if qas_id in texts.odds:
            answer["null_odds"] = json.loads(texts.odds[qas_id])
        if self._options.n_best:
            answer["n_best"] = [
                {name: entry[name] for name in ("text", "probability")} for entry in entries[: self._options.n_best]
            ]
        return answer


class Sentences:
    """Classification of sentences and pairs of sentences."""

    def __init__(
        self, call: models.Model, script: types.ModuleType, tokenizer: Any, settings: Settings, options: Options
    ) -> None:
        self._call, self._google, self._words, self._settings, self._options = call, script, tokenizer, settings, options
        self._labels = settings.label_names()

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """The likeliest label of each, and the probabilities of all."""
        full = self._settings.max_seq_length
        features = []
        for i, row in enumerate(rows):
            example = self._google.InputExample(guid=i, text_a=row.first, text_b=row.second or None, label="")
            # The first five are logged; none of these is.
            feature = self._google.convert_single_example(5, example, [""], full, self._words)
            feature.index = i
            features.append(feature)
        answers: list[Any] = [None] * len(rows)
        for batch, probabilities in _in_batches(self._call, features, self._options.batch_size, full):
            for feature, row_probabilities in zip(batch, probabilities):
                answers[feature.index] = {
                    "id": rows[feature.index].id,
                    "label": self._labels[int(row_probabilities.argmax())],
                    "probabilities": row_probabilities.tolist(),
                }
        return answers


def _in_batches(call: models.Model, features: Sequence[Any], batch_size: int, full: int) -> Iterator[tuple[Any, ...]]:
    """Batches of features of like lengths, and the model's outputs for each."""
    lengths = [sum(feature.input_mask) for feature in features]
    order = sorted(range(len(features)), key=lengths.__getitem__, reverse=True)
    for first in range(0, len(order), batch_size):
        chosen = order[first : first + batch_size]
        length = min(-(-lengths[chosen[0]] // _ROUND_TO) * _ROUND_TO, full)
        batch = [features[i] for i in chosen]
        arrays = [
            np.array([getattr(feature, name)[:length] for feature in batch], np.int32)
            for name in ("input_ids", "input_mask", "segment_ids")
        ]
        yield batch, *call(*arrays)
