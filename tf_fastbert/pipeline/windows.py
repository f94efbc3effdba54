"""Window: one of Google's InputFeatures whose long lists are made when somebody asks for them.

A feature's lists repeat what the paragraph, the question and the window's place say. Only these travel between processes
(ahead.py), and what nobody reads is never made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple


class Document(NamedTuple):
    """A paragraph: its tokens, their ids, and the index of the word that each belongs to."""

    tokens: list[str]
    ids: list[int]
    word_indexes: list[int]


class Query(NamedTuple):
    """A question, cut to the longest allowed."""

    tokens: list[str]
    ids: list[int]


class Layout(NamedTuple):
    """What all windows have in common: their length, and the ids of [CLS] and [SEP]."""

    length: int
    cls: int
    sep: int


class Window:
    """A feature for inference; the attributes are those of Google's InputFeatures."""

    start_position = None
    end_position = None

    def __init__(
        self, layout: Layout, query: Query, document: Document, start: int, is_max_context: Sequence[bool], unique_id: int,
        example_index: int, doc_span_index: int, is_impossible: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
          start: the first of the document's tokens; there are as many as `is_max_context` has entries.
          The rest: as in InputFeatures.
        """
        self.layout, self.query, self.document = layout, query, document
        self.start, self.is_max_context = start, is_max_context
        self.unique_id, self.example_index, self.doc_span_index = unique_id, example_index, doc_span_index
        self.is_impossible = is_impossible

    @property
    def _end(self) -> int:
        return self.start + len(self.is_max_context)

    @property
    def _first(self) -> int:
        """The document's first position."""
        return len(self.query.tokens) + 2

    @property
    def _used(self) -> int:
        return self._first + len(self.is_max_context) + 1

    @cached_property
    def tokens(self) -> list[str]:
        return ["[CLS]", *self.query.tokens, "[SEP]", *self.document.tokens[self.start : self._end], "[SEP]"]

    @cached_property
    def token_to_orig_map(self) -> dict[int, int]:
        return self._by_position(self.document.word_indexes[self.start : self._end])

    @cached_property
    def token_is_max_context(self) -> dict[int, bool]:
        return self._by_position(self.is_max_context)

    def _by_position(self, values: Sequence[Any]) -> dict[int, Any]:
        return dict(zip(range(self._first, self._first + len(values)), values))

    @property
    def input_ids(self) -> list[int]:
        layout, ids = self.layout, self.document.ids[self.start : self._end]
        return [layout.cls, *self.query.ids, layout.sep, *ids, layout.sep, *[0] * (layout.length - self._used)]

    @property
    def input_mask(self) -> list[int]:
        return [1] * self._used + [0] * (self.layout.length - self._used)

    @property
    def segment_ids(self) -> list[int]:
        return [0] * self._first + [1] * (len(self.is_max_context) + 1) + [0] * (self.layout.length - self._used)

    def as_google(self, input_features: Callable[..., Any]) -> Any:
        """The same as `input_features`, Google's class."""
        names = (
            "unique_id", "example_index", "doc_span_index", "tokens", "token_to_orig_map", "token_is_max_context", "input_ids",
            "input_mask", "segment_ids", "start_position", "end_position", "is_impossible",
        )  # fmt: skip
        return input_features(**{name: getattr(self, name) for name in names})
