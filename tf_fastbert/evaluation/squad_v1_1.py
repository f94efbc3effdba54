"""The official SQuAD v1.1 scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tf_fastbert.evaluation.files import EvaluationError, Question
from tf_fastbert.evaluation.text import exact_match, f1


class Scores(NamedTuple):
    """Percentages over all questions, and the ids that had no prediction (they count as 0)."""

    exact_match: float
    f1: float
    unanswered: list[str]


def evaluate(questions: Sequence[Question], predictions: Mapping[str, str]) -> Scores:
    """Scores `predictions` (question id -> text); each question counts with the reference that suits it best.

    Raises:
      EvaluationError: a question has no reference answer, as only v2.0 files have.
    """
    exact_sum, f1_sum, unanswered = 0, 0.0, []
    for question in questions:
        if not question.answers:
            raise EvaluationError(
                f"question {question.id} has no reference answer: this is no v1.1 file, use squad_evaluate_v2_0.py"
            )
        if question.id not in predictions:
            unanswered.append(question.id)
            continue
        prediction = predictions[question.id]
        exact_sum += max(exact_match(prediction, answer) for answer in question.answers)
        f1_sum += max(f1(prediction, answer) for answer in question.answers)
    total = len(questions)
    return Scores(100.0 * exact_sum / total, 100.0 * f1_sum / total, unanswered)
