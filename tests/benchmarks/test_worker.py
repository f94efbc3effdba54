"""benchmarks/peers/worker.py: what is a call's time and what is not."""

from __future__ import annotations

import pytest

from benchmarks.peers import worker


class Clock:
    """Stands in for the module time; a loop that takes `start` and then `call` seconds for each of its calls moves it on."""

    def __init__(self, start: float, call: float):
        self.now, self.start, self.call = 0.0, start, call
        self.longest = 0

    def perf_counter(self) -> float:
        return self.now

    def loop(self, calls: int) -> None:
        self.now += self.start + self.call * calls
        self.longest = max(self.longest, calls)


@pytest.mark.parametrize("call", [2e-5, 2.5e-4, 2e-2, 0.5])
def test_starting_a_loop_is_no_calls_time(call: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(3e-3, call)
    monkeypatch.setattr(worker, "time", clock)
    assert worker.loop_times(clock.loop) == pytest.approx((1e3 * call, 3.0))
    assert clock.longest <= 250


def test_a_loop_whose_calls_take_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(3e-3, 0.0)
    monkeypatch.setattr(worker, "time", clock)
    call, start = worker.loop_times(clock.loop)
    assert 0 < call < 1e-5 and start == pytest.approx(3.0, rel=1e-3)
