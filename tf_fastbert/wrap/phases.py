"""How long each part of a run took: imports, features, graph, prediction, answers."""

from __future__ import annotations

import os
import time

_OLDEST = 600.0  # seconds; a program asks for its age in its first ones


class Phases:
    """Seconds by part. The parts follow each other without gaps: mark() ends one, and the next begins."""

    def __init__(self, since: float | None = None) -> None:
        """
        Args:
          since: when the first part began, by time.monotonic(); now by default.
        """
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic() if since is None else since

    def mark(self, part: str) -> None:
        """All the time since the last mark was `part`."""
        now = time.monotonic()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

    def total(self) -> float:
        """Seconds from the beginning to the last mark."""
        return sum(self.seconds.values())

    def line(self) -> str:
        """One line for the log."""
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in self.seconds.items())
        return f"{self.total():.2f} s: {parts}"


def process_start() -> float:
    """When this process began, by time.monotonic(); now, where /proc does not tell or tells what cannot be (some containers)."""
    try:
        with open("/proc/self/stat", encoding="utf-8") as file:
            # The second field, the program's name, may hold blanks and parentheses; the 22nd is the start, in ticks since boot.
            ticks = int(file.read().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return time.monotonic()
    return time.monotonic() - (age if 0.0 <= age < _OLDEST else 0.0)
