"""The seconds of each part of a run."""

from __future__ import annotations

import time

import pytest

from tf_fastbert.wrap import phases


def test_parts_follow_each_other() -> None:
    clock = phases.Phases(time.monotonic() - 2)
    clock.mark("imports")
    clock.mark("features")
    clock.mark("imports")
    assert list(clock.seconds) == ["imports", "features"]
    assert clock.seconds["imports"] == pytest.approx(2, abs=1)
    assert clock.total() == sum(clock.seconds.values())
    assert clock.line().startswith("2.") and ": imports 2." in clock.line() and "features 0.0" in clock.line()


def test_process_start_is_in_the_past() -> None:
    assert -0.1 <= time.monotonic() - phases.process_start() <= phases._OLDEST
