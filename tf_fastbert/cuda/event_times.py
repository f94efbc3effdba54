"""How often work on a GPU is timed by events, whosever events they are (Gpu.event_ms, PyTorch's in the benchmarks)."""

from __future__ import annotations

import time
from collections.abc import Callable

EventMs = Callable[[int], float]  # milliseconds of one of so many calls, queued one behind the other; waits for them


def timed_rounds(event_ms: EventMs, seconds: float = 0.25, calls: int = 5) -> list[float]:
    """Milliseconds a call, of rounds of `calls` each that take `seconds` in all, but 7 to 60; after a warm-up, without a pause."""
    event_ms(3)
    estimate = event_ms(calls)
    rounds = max(7, min(60, int(seconds * 1e3 / max(estimate * calls, 1e-3))))
    return [event_ms(calls) for _ in range(rounds)]


def timed_bursts(
    run: Callable[[], object], event_ms: EventMs, calls: int = 5, rounds: int = 11, rest: float = 0.02
) -> list[float]:
    """The same with `rest` seconds before each round and then a call of run() that is not counted: a GPU below its power limit."""
    times = []
    for _ in range(rounds):
        time.sleep(rest)
        run()
        times.append(event_ms(calls))
    return times
