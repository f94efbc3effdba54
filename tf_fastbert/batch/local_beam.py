"""Beam's local runner with several worker processes.

The runner waits for ever for a worker process that was killed, for instance by the kernel when memory is short. So the pipelines
run in a process of their own, which ends when a worker dies; this one starts it again. Finished shards stay, so that little is
computed twice.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

# Exit status of a process whose worker died (EX_TEMPFAIL of sysexits.h).
WORKER_DIED = 75
# Names the process that supervises this one.
_SUPERVISOR = "TF_FASTBERT_BATCH_SUPERVISOR"
# What Beam's thread that waits for a worker raises.
_DEATH = "Worker subprocess exited with return code"


def supervisor() -> int | None:
    """The process that supervises this one, if any does."""
    pid = os.environ.get(_SUPERVISOR)
    return int(pid) if pid else None


def end_when_a_worker_dies() -> None:
    """From now on this process ends with status WORKER_DIED when one of Beam's worker processes fails."""
    before = threading.excepthook

    def hook(arguments: Any) -> None:
        if _DEATH in str(arguments.exc_value):
            print(f"a worker process died ({arguments.exc_value})", file=sys.stderr, flush=True)
            os._exit(WORKER_DIED)
        before(arguments)

    threading.excepthook = hook


def supervise(command: Sequence[str], restarts: int, told: Callable[[int], None] = lambda attempt: None) -> int:
    """Runs `command`, and again while it ends with WORKER_DIED, `restarts` times at most; returns its exit status.

    Args:
      told: called with the number of the next attempt, 2 and above.
    """
    for attempt in range(1, restarts + 2):
        if attempt > 1:
            told(attempt)
        # A session of its own: its workers can be ended with it.
        process = subprocess.Popen(command, env={**os.environ, _SUPERVISOR: str(os.getpid())}, start_new_session=True)
        handlers = {number: signal.signal(number, functools.partial(_end_on_signal, process)) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            status = process.wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            _end(process)
        if status != WORKER_DIED:
            break
    return status if status >= 0 else 128 - status


def _end_on_signal(process: subprocess.Popen, *_: Any) -> None:
    _end(process)


def _end(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
