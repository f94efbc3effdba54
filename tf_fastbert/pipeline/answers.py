"""write_predictions of Google's run_squad, made fast: the same three files, byte for byte.

The n best start and end positions, and which of their pairs can be an answer, come from NumPy for many windows at a time
(candidates.py); the few pairs that are looked at become text with the words' normal forms remembered (final_text.py); and the
JSON is put together directly, because the json module indents in Python. Sums are in float64 and in Google's order, so they are
the same to the last bit.
"""

from __future__ import annotations

import collections
import functools
import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

from tf_fastbert.pipeline import ahead, candidates
from tf_fastbert.pipeline.final_text import FinalText


class _Entry(NamedTuple):
    """One of the n best answers."""

    text: str
    start_logit: float
    end_logit: float


class Texts(NamedTuple):
    """The three files' contents, question id -> JSON: predictions, n best lists, and for SQuAD 2.0 the null answers' odds."""

    predictions: dict[str, str]
    nbest: dict[str, str]
    odds: dict[str, str]


class _Unusual(Exception):
    """Something that only Google's own code knows how to do."""


def make_write_predictions(run_squad: types.ModuleType) -> Callable[..., None]:
    """run_squad.write_predictions. It leaves what is unusual (logits that are not finite, --verbose_logging) to the original."""
    original = run_squad.write_predictions

    @functools.wraps(original)
    def write_predictions(
        all_examples: Sequence[Any],
        all_features: Sequence[Any],
        all_results: Sequence[Any],
        n_best_size: int,
        max_answer_length: int,
        do_lower_case: bool,
        output_prediction_file: str,
        output_nbest_file: str,
        output_null_log_odds_file: str,
    ) -> None:
        flags = run_squad.FLAGS
        try:
            if flags.verbose_logging or n_best_size < 1:
                raise _Unusual
            answers = ahead.answers(
                run_squad, all_examples, all_features, all_results, n_best_size, max_answer_length, do_lower_case
            ) or _answers(run_squad, all_examples, all_features, all_results, n_best_size, max_answer_length, do_lower_case)
        except (_Unusual, candidates.Unusual):
            original(
                all_examples,
                all_features,
                all_results,
                n_best_size,
                max_answer_length,
                do_lower_case,
                output_prediction_file,
                output_nbest_file,
                output_null_log_odds_file,
            )
            return
        tf = run_squad.tf
        tf.logging.info("Writing predictions to: %s" % output_prediction_file)
        tf.logging.info("Writing nbest to: %s" % output_nbest_file)
        files = [(output_prediction_file, answers.predictions), (output_nbest_file, answers.nbest)]
        if flags.version_2_with_negative:
            files.append((output_null_log_odds_file, answers.odds))
        for path, content in files:
            with tf.gfile.GFile(path, "w") as writer:
                writer.write(_json_object(content))

    return write_predictions


def _answers(
    run_squad: types.ModuleType,
    all_examples: Sequence[Any],
    all_features: Sequence[Any],
    all_results: Sequence[Any],
    n_best_size: int,
    max_answer_length: int,
    do_lower_case: bool,
) -> Texts:
    by_example: dict[int, list[Any]] = collections.defaultdict(list)
    for feature in all_features:
        by_example[feature.example_index].append(feature)
    features = [by_example[i] for i in range(len(all_examples))]
    results = {result.unique_id: result for result in all_results}
    return find_texts(
        run_squad, all_examples, features, results, n_best_size, max_answer_length, do_lower_case, threshold(run_squad)
    )


def threshold(run_squad: types.ModuleType) -> float | None:
    """--null_score_diff_threshold where there are questions without answers, else None."""
    return run_squad.FLAGS.null_score_diff_threshold if run_squad.FLAGS.version_2_with_negative else None


def joined(parts: Iterable[Texts]) -> Texts:
    """The texts of several groups of examples, one after the other."""
    whole = Texts({}, {}, {})
    for part in parts:
        for target, source in zip(whole, part):
            target.update(source)
    return whole


def find_texts(
    run_squad: Any,
    examples: Sequence[Any],
    features: Sequence[Sequence[Any]],
    results: Mapping[int, Any],
    n_best_size: int,
    max_answer_length: int,
    do_lower_case: bool,
    threshold: float | None,
) -> Texts:
    """The texts of `examples`.

    Args:
      run_squad: Google's module, or what has its tokenization and get_final_text.
      features: for each example its windows. results: unique id -> RawResult. threshold: see threshold().
    """
    final_text = FinalText(run_squad, do_lower_case)
    predictions: dict[str, str] = {}
    nbest_lists: dict[str, str] = {}
    odds: dict[str, str] = {}
    found = candidates.find(features, results, n_best_size, max_answer_length)
    for example, windows, pairs in zip(examples, features, found, strict=True):
        if not isinstance(example.qas_id, str):
            raise _Unusual
        if threshold is not None and not windows:
            raise _Unusual
        null = None if threshold is None else _null_answer(windows, results)
        nbest = _n_best(example, windows, pairs, n_best_size, final_text, null)
        nbest_lists[example.qas_id] = _json_entries(nbest)
        if null is None:
            predictions[example.qas_id] = _quoted(nbest[0].text)
            continue
        best = next((entry for entry in nbest if entry.text), None)
        if best is None:
            raise _Unusual
        difference = null.score - best.start_logit - best.end_logit
        odds[example.qas_id] = repr(difference)
        predictions[example.qas_id] = _quoted("" if difference > threshold else best.text)
    return Texts(predictions, nbest_lists, odds)


class _Null(NamedTuple):
    """SQuAD 2.0's "no answer": the lowest score of the windows' first position."""

    score: float
    start_logit: float
    end_logit: float


def _null_answer(windows: Sequence[Any], results: Mapping[int, Any]) -> _Null:
    null = _Null(1000000, 0, 0)
    for feature in windows:
        result = results[feature.unique_id]
        start, end = result.start_logits[0], result.end_logits[0]
        if start + end < null.score:
            null = _Null(start + end, start, end)
    return null


def _n_best(
    example: Any,
    windows: Sequence[Any],
    pairs: Iterable[candidates.Pair],
    n_best_size: int,
    final_text: FinalText,
    null: _Null | None,
) -> list[_Entry]:
    """The n best answers with different texts, the best first; "" is among them if `null` is given."""
    nbest: list[_Entry] = []
    seen: set[str] = set()
    waiting = null  # until its place among the pairs comes
    doc_tokens = example.doc_tokens
    for window, start, end, start_logit, end_logit in pairs:
        if waiting is not None and start_logit + end_logit < waiting.start_logit + waiting.end_logit:
            nbest.append(_Entry("", waiting.start_logit, waiting.end_logit))
            seen.add("")
            waiting = None
        if len(nbest) >= n_best_size:
            break
        text = final_text(windows[window], start, end, doc_tokens)
        if text not in seen:
            seen.add(text)
            nbest.append(_Entry(text, start_logit, end_logit))
            if len(nbest) >= n_best_size:
                break
    if null is not None and ("" not in seen or (waiting is not None and len(nbest) < n_best_size)):
        nbest.append(_Entry("", null.start_logit, null.end_logit))
    return nbest or [_Entry("empty", 0.0, 0.0)]


def _json_entries(nbest: Sequence[_Entry]) -> str:
    """The list of one question in nbest_predictions.json, as json.dumps(..., indent=4) has it."""
    scores = [entry.start_logit + entry.end_logit for entry in nbest]
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    total = 0.0
    for value in exponentials:  # sum() compensates for rounding, Google's loop does not
        total += value
    return ",\n".join(
        [
            f"""        {{
            "text": {_quoted(text)},
            "probability": {value / total!r},
            "start_logit": {start_logit!r},
            "end_logit": {end_logit!r}
        }}"""
            for (text, start_logit, end_logit), value in zip(nbest, exponentials)
        ]
    ).join(("[\n", "\n    ]"))


def _json_object(values: dict[str, str]) -> str:
    """json.dumps(..., indent=4) and a newline, for values that are JSON already."""
    if not values:
        return "{}\n"
    return "{\n" + ",\n".join([f"    {_quoted(key)}: {value}" for key, value in values.items()]) + "\n}\n"
