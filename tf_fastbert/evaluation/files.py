"""Loads and checks the files of a SQuAD evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple


class EvaluationError(Exception):
    """A file cannot be evaluated; the message names it and says why."""


class Question(NamedTuple):
    """A question of a dataset. `answers` are the reference texts, empty for a question that has no answer (v2.0)."""

    id: str
    answers: list[str]


def _load_json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not text.strip():
        raise EvaluationError(f"{path} is empty")
    try:
        return json.loads(text)
    except ValueError as error:
        raise EvaluationError(f"{path} is not valid JSON: {error}") from error


def load_questions(path: str) -> list[Question]:
    """Returns the questions of a SQuAD file (v1.1 or v2.0) in their order.

    Raises:
      EvaluationError: the file is missing, empty, no JSON, not shaped as SQuAD is, without questions, or repeats an id.
    """
    dataset = _load_json(path)
    try:
        questions = list(_questions(dataset["data"]))
    except (KeyError, TypeError) as error:
        missing = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise EvaluationError(
            f"{path} is not a SQuAD file: {missing} where data -> paragraphs -> qas -> id, answers -> text is expected"
        ) from error
    if not questions:
        raise EvaluationError(f"{path} holds no questions")
    seen = set()
    for question in questions:
        if question.id in seen:
            raise EvaluationError(f"{path}: the id {question.id!r} occurs more than once")
        seen.add(question.id)
    return questions


def _questions(articles: list) -> Iterator[Question]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                yield Question(qa["id"], [answer["text"] for answer in qa["answers"]])


def load_predictions(path: str) -> dict[str, str]:
    """Returns question id -> predicted text, as Google's run_squad writes it in predictions.json.

    Raises:
      EvaluationError: the file is missing, empty, no JSON, or something else than texts by id.
    """
    return _load_by_id(path, str, "an answer text")


def load_probabilities(path: str) -> dict[str, float]:
    """Returns question id -> how probable it is that the question has no answer (any score that grows with it will do)."""
    return _load_by_id(path, (int, float), "a number")


def _load_by_id(path: str, kind: type | tuple[type, ...], what: str) -> dict:
    values = _load_json(path)
    if not isinstance(values, dict):
        raise EvaluationError(f"{path} is not a JSON object that maps question ids to values: it holds a {type(values).__name__}")
    for key, value in values.items():
        if not isinstance(value, kind):
            raise EvaluationError(f"{path}: the value of {key!r} is {value!r:.80}, not {what}")
    return values
