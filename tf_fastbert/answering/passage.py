"""A passage: its words as Google's run_squad sees them, and where in the text they are."""

from __future__ import annotations

from tf_fastbert.pipeline import squad_features


class Passage:
    """
    Attributes:
      text: the passage.
      words: SquadExample.doc_tokens.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = squad_features.split_paragraph(text)
        self._starts = squad_features.word_starts(text)

    def characters(self, first: int, begin: int, end: int) -> tuple[int, int]:
        """Where in the text a part of " ".join(words[first:]) is.

        Args:
          first: index of a word.
          begin, end: the part; its first and last characters belong to words, not to the blanks between them.

        Returns:
          start and end: text[start:end] is the part, with the passage's own white space.
        """
        return self._character(first, begin), self._character(first, end - 1) + 1

    def _character(self, word: int, position: int) -> int:
        while position > len(self.words[word]):
            position -= len(self.words[word]) + 1
            word += 1
        return self._starts[word] + position
