"""The official SQuAD v2.0 scores: v1.1's, with questions whose right answer is the empty text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tf_fastbert.evaluation.files import EvaluationError, Question
from tf_fastbert.evaluation.text import exact_match, f1, normalise


class _Score(NamedTuple):
    exact: float
    f1: float


def evaluate(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    na_probabilities: Mapping[str, float] | None = None,
    threshold: float = 1.0,
) -> tuple[dict[str, float], list[str]]:
    """Scores `predictions` (question id -> text, "" for "no answer").

    Args:
      na_probabilities: question id -> how probable it is that there is no answer. Where it is above `threshold`, the prediction
        counts as "". With it, the result also has the thresholds that would have been best.

    Returns:
      The official dictionary, in percent: exact, f1, total; HasAns_* and NoAns_* where there are such questions; best_exact,
      best_exact_thresh, best_f1, best_f1_thresh with na_probabilities. And the ids without a prediction, which count as 0.

    Raises:
      EvaluationError: na_probabilities lacks a question that has a prediction.
    """
    unanswered = [q.id for q in questions if q.id not in predictions]
    raw = {q.id: _raw_score(q, predictions) for q in questions}
    if na_probabilities is None:
        scores = raw
    else:
        lacking = [q.id for q in questions if q.id in predictions and q.id not in na_probabilities]
        if lacking:
            raise EvaluationError(f"no probability of \"no answer\" for {len(lacking)} questions, the first is {lacking[0]}")
        scores = {
            q.id: _Score(*[float(not q.answers)] * 2) if q.id in predictions and na_probabilities[q.id] > threshold else raw[q.id]
            for q in questions
        }
    result = _mean(scores, [q.id for q in questions])
    for name, ids in (("HasAns", [q.id for q in questions if q.answers]), ("NoAns", [q.id for q in questions if not q.answers])):
        if ids:
            result |= {f"{name}_{key}": value for key, value in _mean(scores, ids).items()}
    if na_probabilities is not None:
        for key in ("exact", "f1"):
            best, best_threshold = _best_threshold(questions, predictions, raw, na_probabilities, key)
            result |= {f"best_{key}": best, f"best_{key}_thresh": best_threshold}
    return result, unanswered


def _raw_score(question: Question, predictions: Mapping[str, str]) -> _Score:
    if question.id not in predictions:
        return _Score(0.0, 0.0)
    prediction = predictions[question.id]
    # A reference that is nothing but articles and punctuation counts as no reference.
    references = [answer for answer in question.answers if normalise(answer)] or [""]
    return _Score(
        float(max(exact_match(prediction, reference) for reference in references)),
        max(_f1(prediction, reference) for reference in references),
    )


def _f1(prediction: str, reference: str) -> float:
    """Unlike v1.1's: two texts without words agree."""
    if not normalise(prediction) or not normalise(reference):
        return float(normalise(prediction) == normalise(reference))
    return f1(prediction, reference)


def _mean(scores: Mapping[str, _Score], ids: Iterable[str]) -> dict[str, float]:
    ids = list(ids)
    return {
        "exact": 100.0 * sum(scores[i].exact for i in ids) / len(ids),
        "f1": 100.0 * sum(scores[i].f1 for i in ids) / len(ids),
        "total": len(ids),
    }


def _best_threshold(
    questions: Sequence[Question],
    predictions: Mapping[str, str],
    raw: Mapping[str, _Score],
    na_probabilities: Mapping[str, float],
    key: str,
) -> tuple[float, float]:
    """The best mean score over all thresholds, in percent, and the lowest threshold that reaches it.

    Starts with "no answer" everywhere and moves one question after the other, by rising probability, to its prediction.
    """
    by_id = {q.id: q for q in questions}
    score = best = float(sum(not q.answers for q in questions))
    best_threshold = 0.0
    for question_id in sorted(na_probabilities, key=na_probabilities.__getitem__):
        if question_id not in by_id or question_id not in predictions:
            continue
        if by_id[question_id].answers:
            score += getattr(raw[question_id], key)
        elif predictions[question_id]:
            score -= 1
        if score > best:
            best, best_threshold = score, na_probabilities[question_id]
    return 100.0 * best / len(questions), best_threshold
