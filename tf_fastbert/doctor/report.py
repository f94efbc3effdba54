"""The doctor's findings: lines for people, facts for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

_MARK = "PROBLEM: "


@dataclasses.dataclass
class Report:
    """Lines as they are found, facts by name, and whether everything that should work does."""

    write: Callable[[str], None] = print
    healthy: bool = True
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)

    def line(self, name: str, text: Any, **facts: Any) -> None:
        """Writes a line, and keeps the facts that it tells of."""
        self.write(f"{name + ':':<22}{text}")
        self.facts.update(facts)

    def problem(self, name: str, text: Any, **facts: Any) -> None:
        """As line(), of something that should work and does not."""
        self.healthy = False
        self.problems.append(f"{name}: {text}")
        self.line(name, f"{_MARK}{text}", **facts)

    def fact(self, name: str, value: Any) -> None:
        self.facts[name] = value

    def document(self) -> dict[str, Any]:
        """For JSON: {"healthy": bool, "problems": [text], and the facts}."""
        return {"healthy": self.healthy, "problems": self.problems, **self.facts}
