"""get_final_text of Google's run_squad, for spans of whole words, with the words' normal forms remembered.

Google's code normalizes the words of each candidate answer again (BasicTokenizer, a character at a time) and maps positions
through dictionaries of all characters. The normal form of several words is that of each, joined by blanks; a position is found by
counting.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

from tf_fastbert.pipeline.words import BasicWords


class FinalText:
    """The text of a span of a window's tokens, as Google's write_predictions makes it."""

    def __init__(self, run_squad: types.ModuleType, do_lower_case: bool) -> None:
        self._google = run_squad.get_final_text
        self._lower = do_lower_case
        self._normal = BasicWords(run_squad.tokenization.BasicTokenizer(do_lower_case=do_lower_case)).joined
        self._doc_tokens: Sequence[str] | None = None
        self._doc_normal: list[str] = []

    def __call__(self, window: Any, start: int, end: int, doc_tokens: Sequence[str]) -> str:
        """The text of the tokens from `start` to `end` of a window (InputFeatures) on a document with the words `doc_tokens`."""
        if doc_tokens is not self._doc_tokens:
            self._doc_tokens, self._doc_normal = doc_tokens, [self._normal(word) for word in doc_tokens]
        pieces = " ".join(window.tokens[start : end + 1]).replace(" ##", "").replace("##", "")
        predicted = " ".join(pieces.split())
        first, last = window.token_to_orig_map[start], window.token_to_orig_map[end] + 1
        return self.project(predicted, doc_tokens[first:last], self._doc_normal[first:last])

    def project(self, predicted: str, words: Sequence[str], normal_words: Sequence[str]) -> str:
        """get_final_text(predicted, " ".join(words), do_lower_case).

        Args:
          words: without blanks in them, none empty.
          normal_words: for each word what BasicTokenizer makes of it, joined by blanks.
        """
        original, normal = " ".join(words), " ".join(normal_words)
        if not predicted or "" in normal_words:
            return self._google(predicted, original, self._lower)
        start = normal.find(predicted)
        if start < 0:
            return original
        characters = len(normal) - normal.count(" ")
        if characters != len(original) - original.count(" "):
            return original
        if len(predicted) == len(normal):
            return original
        # `predicted` begins and ends with no blank. Which characters, blanks not counted, are its first and its last?
        end = start + len(predicted)
        first = start - normal.count(" ", 0, start)
        last = first + len(predicted) - predicted.count(" ") - 1
        return original[_position(words, first) : _position_from_end(words, len(original), characters - 1 - last)]


def _position(words: Sequence[str], character: int) -> int:
    """Where in " ".join(words) the character with this number is, blanks not counted."""
    position = character
    for word in words:
        if character < len(word):
            break
        character -= len(word)
        position += 1
    return position


def _position_from_end(words: Sequence[str], length: int, characters: int) -> int:
    """Where in " ".join(words), of `length`, that many characters are left, blanks not counted."""
    position = length - characters
    for word in reversed(words):
        if characters < len(word):
            break
        characters -= len(word)
        position -= 1
    return position
