"""What a row of the input must have, for either task."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

TASKS = ("squad", "classifier")


class Row(NamedTuple):
    """A row of the input: a question and its passage, or a sentence and, if there is one, a second ("" if not)."""

    id: str | int
    first: str
    second: str


class BadRow(Exception):
    """A row that cannot be answered; the message says why."""


@dataclasses.dataclass(frozen=True)
class Fields:
    """The names of a row's fields.

    Attributes:
      id, first, second: see Row.
      second_required: whether every row has the second text.
    """

    id: str
    first: str
    second: str
    second_required: bool

    @classmethod
    def of(cls, task: str, id_field: str = "id", first: str | None = None, second: str | None = None) -> Fields:
        """The fields of a task, "squad" or "classifier", by their usual names unless others are given."""
        usual = ("question", "context") if task == "squad" else ("text_a", "text_b")
        return cls(id_field, first or usual[0], second or usual[1], task == "squad")

    def row(self, content: Any) -> Row:
        """The row of a JSON value or of a Parquet row.

        Raises:
          BadRow: a field is missing or of a wrong type.
        """
        if not isinstance(content, Mapping):
            raise BadRow(f"it is no JSON object but a {type(content).__name__}")
        for name in (self.id, self.first, *([self.second] if self.second_required else [])):
            if content.get(name) is None:
                raise BadRow(f'it has no "{name}" (it has {", ".join(map(repr, content)) or "nothing"})')
        row_id = content[self.id]
        if isinstance(row_id, bool) or not isinstance(row_id, (str, int)):
            raise BadRow(f'"{self.id}" must be a text or a whole number, not {row_id!r}')
        texts = [content[self.first], content.get(self.second) or ""]
        for name, value in zip((self.first, self.second), texts):
            if not isinstance(value, str):
                raise BadRow(f'"{name}" must be a text, not {value!r}')
        return Row(row_id, *texts)


def key(row_id: str | int) -> str:
    """What makes an id the same as another: predictions.json and its like cannot tell 1 from "1"."""
    return str(row_id)
