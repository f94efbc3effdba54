"""Runs one family over all rows of a case: checks each implementation against the reference, then times it.

Every result is one line of JSON in results_FAMILY.jsonl, written at once, so that a crash loses only what came after it. The same
lines go to the file that the option "live" of the case names, which outlives the run even if that is killed.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import statistics
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import LIMITS, Case, Row, relative_error
from benchmarks.peers import FAMILIES
from tf_fastbert.cuda.driver import device_count


class NotInstalled(Exception):
    """The family cannot run here; the message says why."""


class NotApplicable(Exception):
    """An implementation has no such mode or type; the message says why."""


def require_gpu_build(uses_gpu: bool, name: str) -> None:
    """Raises NotInstalled where there is a GPU that a family does not use: its CPU times would stand beside GPU times."""
    if not uses_gpu and device_count() > 0:
        raise NotInstalled(f"this {name} does not use the GPU")


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An implementation ready for one row.

    output: computes and returns [B, S, H] or, without padding, [T, H], as float32. milliseconds: the median of one call among many;
    burst_milliseconds: the same of a few calls after a rest, where that can be told apart.
    """

    output: Callable[[], np.ndarray]
    milliseconds: Callable[[], float]
    burst_milliseconds: Callable[[], float] | None = None


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One implementation in one mode.

    name: of the column, such as "ours"; mode: how it is called, such as "CUDA graph"; padded: it computes padding tokens too;
    prepare: makes it ready for a row, raising NotApplicable if it cannot be; limit: of its output's relative error, if not the
    type's; slow: it takes long to prepare, so it comes when all others have been timed.
    """

    name: str
    mode: str
    padded: bool
    prepare: Callable[[Row], Prepared]
    limit: float | None = None
    slow: bool = False


@dataclasses.dataclass(frozen=True)
class Family:
    """versions: one line for the report; device: what it runs on; candidates: what to time, in order; after_row: frees memory."""

    versions: str
    device: str
    candidates: list[Candidate]
    after_row: Callable[[], None] = lambda: None


def wall_ms(run: Callable[[], Any], seconds: float = 0.25) -> float:
    """Median wall time of run(), which must wait for its result: for the CPU."""
    run()
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - begin < seconds and len(times) < 100):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def loop_times(loop: Callable[[int], Any], milliseconds: float = 60.0) -> tuple[float, float]:
    """Milliseconds of one more call inside loop(n), which makes n calls on the device and waits for them, and those of starting it.

    A framework needs a millisecond or more to start a loop with a model's weights and to bring its result back, which is no call's
    time: so a long and a short loop take turns, and the difference counts. n is chosen to make it `milliseconds`.
    """
    loop(1)
    begin = time.perf_counter()
    loop(1)
    estimate = 1e3 * (time.perf_counter() - begin)
    more = int(min(200, max(1, milliseconds / estimate)))
    few = (more + 3) // 4
    short, difference = [], []
    begin = time.perf_counter()
    while len(short) < 5 or (time.perf_counter() - begin < 0.4 and len(short) < 100):
        start = time.perf_counter()
        loop(few)
        middle = time.perf_counter()
        loop(few + more)
        end = time.perf_counter()
        short.append(1e3 * (middle - start))
        difference.append(1e3 * (end - middle - (middle - start)))
    # Above zero even where another program's work was longer than the loops.
    call = max(statistics.median(difference) / more, 1e-6)
    return call, max(0.0, statistics.median(short) - few * call)


def looped_ms(loop: Callable[[int], Any], milliseconds: float = 60.0) -> float:
    """Milliseconds of one call inside a loop on the device; see loop_times."""
    return loop_times(loop, milliseconds)[0]


def _measure(case: Case, row: Row, candidate: Candidate, output_file: str) -> dict[str, Any]:
    try:
        prepared = candidate.prepare(row)
        checked = row.select(prepared.output()).astype(np.float32)
        error = relative_error(checked, case.reference(row))
        np.save(case.folder / output_file, checked)
        result = {"relative_error": error, "output": output_file}
        if not error < (candidate.limit or LIMITS[case.dtype]):
            return {**result, "not_timed": f"its output differs from the reference by {error:.1e}"}
        result["milliseconds"] = prepared.milliseconds()
        if case.options.get("bursts") and prepared.burst_milliseconds is not None:
            result["burst_milliseconds"] = prepared.burst_milliseconds()
        return result
    except NotApplicable as reason:
        return {"not_timed": str(reason)}
    except Exception as error:  # whatever a peer raises is its result; the other ones go on
        traceback.print_exc()
        first_line = (str(error).strip() or repr(error)).splitlines()[0]
        return {"not_timed": f"failed: {type(error).__name__}: {first_line[:200]}"}


def run(family_name: str, case: Case) -> None:
    """Writes results_FAMILY.jsonl: first {"versions", "device"} or {"not_installed"}, then a line for each row and candidate."""
    with open(case.folder / f"results_{family_name}.jsonl", "w") as file:

        def write(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()
            if case.options.get("live"):
                with open(case.options["live"], "a") as live:
                    live.write(json.dumps(line) + "\n")

        try:
            family: Family = importlib.import_module(FAMILIES[family_name]).start(case)
        except NotInstalled as reason:
            write({"not_installed": str(reason)})
            return
        write({"versions": family.versions, "device": family.device})
        for slow in sorted({candidate.slow for candidate in family.candidates}):
            for row in case.rows:
                for index, candidate in enumerate(family.candidates):
                    if candidate.slow != slow:
                        continue
                    begin = time.perf_counter()
                    result = _measure(case, row, candidate, f"{row.name}_{family_name}_{index}.npy")
                    write(
                        {
                            "row": [row.batch, row.seq_len],
                            "family": family_name,
                            "name": candidate.name,
                            "mode": candidate.mode,
                            "padded": candidate.padded,
                            **result,
                            "seconds": round(time.perf_counter() - begin, 2),
                        }
                    )
                family.after_row()
