"""get_final_text of Google's run_squad, for spans of whole words, with the words' normal forms remembered.

Google's code normalizes the words of each candidate answer again (BasicTokenizer, a character at a time) and maps positions
through dictionaries of all characters. The normal form of several words is that of each, joined by blanks; a position is found by
counting.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from tf_fastbert.pipeline.words import BasicWords


class FinalText:
    """The text of a span of a window's tokens, as Google's write_predictions makes it."""

    def __init__(self, run_squad: types.ModuleType, do_lower_case: bool) -> None:
        self._google = run_squad.get_final_text
        self._lower = do_lower_case
        self._normal = BasicWords(run_squad.tokenization.BasicTokenizer(do_lower_case=do_lower_case)).joined
        self._document = _Document([], [])
        self._faithful: dict[int, bool] = {}

    def __call__(self, window: Any, start: int, end: int, doc_tokens: Sequence[str]) -> str:
        """The text of the tokens from `start` to `end` of a window (InputFeatures) on a document with the words `doc_tokens`."""
        if doc_tokens is not self._document.words:
            self._document = _Document(doc_tokens, [self._normal(word) for word in doc_tokens])
        document, word_of = self._document, window.token_to_orig_map
        first, last = word_of[start], word_of[end]
        words = document.words[first : last + 1]
        if document.changed[first] == document.changed[last + 1]:
            # Whole words whose characters are those of their normal forms: their tokens would be found from end to end.
            whole = word_of.get(start - 1) != first and word_of.get(end + 1) != last
            if whole and self._is_faithful(window):
                return " ".join(words)
        return self.project(_text(window.tokens[start : end + 1]), words, document.normal[first : last + 1])

    def place(self, window: Any, start: int, end: int, doc_tokens: Sequence[str]) -> tuple[int, int, int]:
        """Where the text that a call gives is in the document.

        Returns:
          The index of the span's first word, and where the text begins and ends in " ".join(doc_tokens[that index :]).
        """
        text = self(window, start, end, doc_tokens)
        document, word_of = self._document, window.token_to_orig_map
        first, last = word_of[start], word_of[end]
        words = document.words[first : last + 1]
        original = " ".join(words)
        if text == original:
            return first, 0, len(original)
        span = self._span(_text(window.tokens[start : end + 1]), original, words, document.normal[first : last + 1])
        # Google's own projection gives a part of the words too, but does not say which: the first of equal ones.
        begin, stop = span or (original.find(text), original.find(text) + len(text))
        return first, begin, stop

    def _is_faithful(self, window: Any) -> bool:
        """Whether the window's tokens are the normal forms of whole words: no [UNK], no word cut at the window's ends."""
        known = self._faithful.get(window.unique_id)
        if known is None:
            word_of = window.token_to_orig_map
            start, end = next(iter(word_of)), next(reversed(word_of))
            normal = self._document.normal[word_of[start] : word_of[end] + 1]
            known = self._faithful[window.unique_id] = _text(window.tokens[start : end + 1]) == " ".join(normal)
        return known

    def project(self, predicted: str, words: Sequence[str], normal_words: Sequence[str]) -> str:
        """get_final_text(predicted, " ".join(words), do_lower_case).

        Args:
          words: of the document.
          normal_words: for each word what BasicTokenizer makes of it, joined by blanks.
        """
        original = " ".join(words)
        span = self._span(predicted, original, words, normal_words)
        return self._google(predicted, original, self._lower) if span is None else original[span[0] : span[1]]

    def _span(
        self, predicted: str, original: str, words: Sequence[str], normal_words: Sequence[str]
    ) -> tuple[int, int] | None:
        """Which part of `original`, the words joined by blanks, is the answer; None where only Google's code knows."""
        normal, whole = " ".join(normal_words), (0, len(original))
        blanks = original.count(" ")
        if not predicted or "" in normal_words or blanks != len(words) - 1:
            return None
        start = normal.find(predicted)
        if start < 0:
            return whole
        characters = len(normal) - normal.count(" ")
        if characters != len(original) - blanks:
            return whole
        if len(predicted) == len(normal):
            return whole
        # `predicted` begins and ends with no blank. Which characters, blanks not counted, are its first and its last?
        first = start - normal.count(" ", 0, start)
        last = first + len(predicted) - predicted.count(" ") - 1
        return _position(words, first), _position_from_end(words, len(original), characters - 1 - last)


class _Document:
    """The words of a document, their normal forms, and changed[i]: how many of the first i words have other characters there."""

    def __init__(self, words: Sequence[str], normal: Sequence[str]) -> None:
        self.words, self.normal = words, normal
        self.changed = [
            0,
            *accumulate(not form or len(form) - form.count(" ") != len(word) for word, form in zip(words, normal, strict=True)),
        ]


def _text(tokens: Sequence[str]) -> str:
    """The text of word pieces, as Google's code puts them together."""
    return " ".join(" ".join(tokens).replace(" ##", "").replace("##", "").split())


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
