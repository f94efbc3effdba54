"""How SQuAD compares a predicted answer with a reference: normalised text, exact match, F1 over words."""

from __future__ import annotations

import collections
import re
import string

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, words separated by one space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, reference: str) -> bool:
    """Whether both are the same once normalised."""
    return normalise(prediction) == normalise(reference)


def f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the normalised words, counted as often as they occur; 0 if none is shared."""
    predicted, expected = normalise(prediction).split(), normalise(reference).split()
    shared = sum((collections.Counter(predicted) & collections.Counter(expected)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)
