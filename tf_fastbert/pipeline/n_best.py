"""The n best answers of each question, as Google's write_predictions chooses them.

The n best start and end positions, and which of their pairs can be an answer, come from NumPy for many windows at a time
(candidates.py); the few pairs that are looked at become text with the words' normal forms remembered (final_text.py). Sums are in
float64 and in Google's order, so they are the same to the last bit.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tf_fastbert.pipeline import candidates
from tf_fastbert.pipeline.candidates import Unusual
from tf_fastbert.pipeline.final_text import FinalText

__all__ = ["NOTHING", "Entry", "Found", "Null", "Unusual", "by_example", "find", "probabilities"]

# What Google's code answers where no pair of positions can be an answer.
NOTHING = "empty"


class Entry(NamedTuple):
    """One of the n best answers: its text, and the tokens of a window that it is. "No answer" and NOTHING have no window (-1)."""

    text: str
    start_logit: float
    end_logit: float
    window: int = -1
    start: int = -1
    end: int = -1


class Null(NamedTuple):
    """SQuAD 2.0's "no answer": the lowest score of the windows' first position."""

    score: float
    start_logit: float
    end_logit: float


class Found(NamedTuple):
    """A question (SquadExample), its windows (InputFeatures) and its n best answers, the best first; `null` with SQuAD 2.0."""

    example: Any
    windows: Sequence[Any]
    entries: list[Entry]
    null: Null | None

    def best(self) -> Entry | None:
        """The best answer that is not "no answer"."""
        return next((entry for entry in self.entries if entry.text), None)

    def null_difference(self, best: Entry) -> float:
        """How much more likely "no answer" is than `best`: what --null_score_diff_threshold is compared with."""
        assert self.null is not None
        return self.null.score - best.start_logit - best.end_logit


def find(
    final_text: FinalText,
    examples: Sequence[Any],
    features: Sequence[Sequence[Any]],
    results: Mapping[int, Any],
    n_best_size: int,
    max_answer_length: int,
    version_2: bool,
) -> Iterator[Found]:
    """The n best answers of each example.

    Args:
      features: for each example its windows.
      results: unique id -> RawResult.
      n_best_size: at least 1.
      version_2: whether "no answer" is an answer.

    Raises:
      Unusual: logits that are not finite, windows that are not as Google's code makes them, or none for a SQuAD 2.0 question.
      KeyError: a window has no result.
    """
    found = candidates.find(features, results, n_best_size, max_answer_length)
    for example, windows, pairs in zip(examples, features, found, strict=True):
        if version_2 and not windows:
            raise Unusual
        null = _null_answer(windows, results) if version_2 else None
        yield Found(example, windows, _n_best(example, windows, pairs, n_best_size, final_text, null), null)


def by_example(examples: Sequence[Any], features: Iterable[Any]) -> list[list[Any]]:
    """For each example its windows, whose example_index counts in `examples`."""
    windows: dict[int, list[Any]] = collections.defaultdict(list)
    for feature in features:
        windows[feature.example_index].append(feature)
    return [windows[i] for i in range(len(examples))]


def _null_answer(windows: Sequence[Any], results: Mapping[int, Any]) -> Null:
    null = Null(1000000, 0, 0)
    for feature in windows:
        result = results[feature.unique_id]
        start, end = result.start_logits[0], result.end_logits[0]
        if start + end < null.score:
            null = Null(start + end, start, end)
    return null


def _n_best(
    example: Any,
    windows: Sequence[Any],
    pairs: Iterable[candidates.Pair],
    n_best_size: int,
    final_text: FinalText,
    null: Null | None,
) -> list[Entry]:
    """The n best answers with different texts, the best first; "" is among them if `null` is given."""
    nbest: list[Entry] = []
    seen: set[str] = set()
    waiting = null  # until its place among the pairs comes
    doc_tokens = example.doc_tokens
    for window, start, end, start_logit, end_logit in pairs:
        if waiting is not None and start_logit + end_logit < waiting.start_logit + waiting.end_logit:
            nbest.append(Entry("", waiting.start_logit, waiting.end_logit))
            seen.add("")
            waiting = None
        if len(nbest) >= n_best_size:
            break
        text = final_text(windows[window], start, end, doc_tokens)
        if text not in seen:
            seen.add(text)
            nbest.append(Entry(text, start_logit, end_logit, window, start, end))
            if len(nbest) >= n_best_size:
                break
    if null is not None and ("" not in seen or (waiting is not None and len(nbest) < n_best_size)):
        nbest.append(Entry("", null.start_logit, null.end_logit))
    return nbest or [Entry(NOTHING, 0.0, 0.0)]


def probabilities(entries: Sequence[Entry]) -> list[float]:
    """The softmax over the entries' scores, start_logit + end_logit: what nbest_predictions.json calls "probability"."""
    scores = [entry.start_logit + entry.end_logit for entry in entries]
    highest = max(scores)
    exponentials = [math.exp(score - highest) for score in scores]
    total = 0.0
    for value in exponentials:  # sum() compensates for rounding, Google's loop does not
        total += value
    return [value / total for value in exponentials]
