"""write_predictions of Google's run_squad, made fast: the same three files, byte for byte.

The n best answers come from n_best.py; the JSON is put together directly, because the json module indents in Python.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

from tf_fastbert.pipeline import ahead, n_best
from tf_fastbert.pipeline.final_text import FinalText


class Texts(NamedTuple):
    """The three files' contents, question id -> JSON: predictions, n best lists, and for SQuAD 2.0 the null answers' odds."""

    predictions: dict[str, str]
    nbest: dict[str, str]
    odds: dict[str, str]


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
                raise n_best.Unusual
            answers = ahead.answers(
                run_squad, all_examples, all_features, all_results, n_best_size, max_answer_length, do_lower_case
            ) or _answers(run_squad, all_examples, all_features, all_results, n_best_size, max_answer_length, do_lower_case)
        except n_best.Unusual:
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
    features = n_best.by_example(all_examples, all_features)
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
    for found in n_best.find(final_text, examples, features, results, n_best_size, max_answer_length, threshold is not None):
        qas_id = found.example.qas_id
        if not isinstance(qas_id, str):
            raise n_best.Unusual
        nbest_lists[qas_id] = _json_entries(found.entries)
        if threshold is None:
            predictions[qas_id] = _quoted(found.entries[0].text)
            continue
        best = found.best()
        if best is None:
            raise n_best.Unusual
        difference = found.null_difference(best)
        odds[qas_id] = repr(difference)
        predictions[qas_id] = _quoted("" if difference > threshold else best.text)
    return Texts(predictions, nbest_lists, odds)


def _json_entries(nbest: Sequence[n_best.Entry]) -> str:
    """The list of one question in nbest_predictions.json, as json.dumps(..., indent=4) has it."""
    return ",\n".join(
        [
            f"""        {{
            "text": {_quoted(text)},
            "probability": {probability!r},
            "start_logit": {start_logit!r},
            "end_logit": {end_logit!r}
        }}"""
            for (text, start_logit, end_logit, *_), probability in zip(nbest, n_best.probabilities(nbest))
        ]
    ).join(("[\n", "\n    ]"))


def _json_object(values: dict[str, str]) -> str:
    """json.dumps(..., indent=4) and a newline, for values that are JSON already."""
    if not values:
        return "{}\n"
    return "{\n" + ",\n".join([f"    {_quoted(key)}: {value}" for key, value in values.items()]) + "\n}\n"
