"""tf_fastbert/cuda/event_times.py: how many calls are made, and which of them count."""

from __future__ import annotations

import pytest

from tf_fastbert.cuda import event_times


@pytest.mark.parametrize(("milliseconds", "rounds"), [(0.001, 60), (2.0, 25), (100.0, 7)])
def test_rounds_fill_the_time_within_bounds(milliseconds: float, rounds: int) -> None:
    asked: list[int] = []

    def event_ms(calls: int) -> float:
        asked.append(calls)
        return milliseconds

    assert event_times.timed_rounds(event_ms) == [milliseconds] * rounds
    assert asked == [3] + [5] * (rounds + 1)


def test_a_burst_comes_after_a_rest_and_a_call_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(event_times.time, "sleep", done.append)

    def event_ms(calls: int) -> float:
        done.append(calls)
        return 1.5

    assert event_times.timed_bursts(lambda: done.append("run"), event_ms, rounds=2) == [1.5, 1.5]
    assert done == [0.02, "run", 5] * 2
