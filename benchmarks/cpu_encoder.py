"""Times BERT's encoder on a CPU: the op in float32, bfloat16 and int8, TensorFlow's own operations, and installed peers.

    python benchmarks/cpu_encoder.py
    python benchmarks/cpu_encoder.py --rows 8x384 --rounds 9 --python onnxruntime=/path/to/venv/bin/python --python openvino=...

Every implementation gets the same weights and lengths (spread evenly from S / 8 to S - S / 8, or S / 2 for one sequence: about
half of a padded batch is padding), and its output is compared with a float64 encoder first. Then they take turns: a round is one
call of each, and what is reported is the median, over the rounds, of stock TensorFlow's float32 time over theirs within the
round: on a machine with other work, milliseconds mean little. Each family is a process of its own, whose threads sleep
while it is not its turn; --python gives one another interpreter. `native` is ours without TensorFlow (`bazel build
//cc/cpu:libfastbert_cpu.so`); where there is no TensorFlow, --baseline names what else ratios are to. Writes cpu_encoder.jsonl and
cpu_encoder.md to --out, and prints the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.case import Case, Row, relative_error  # noqa: E402
from benchmarks.cpu_peers import CANDIDATES, STOCK  # noqa: E402
from benchmarks.shapes import MODELS, parse_rows  # noqa: E402

# Relative 2-norm of the difference from float64, to tell right from wrong. Random weights amplify rounding.
LIMITS = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.25}


class Worker:
    """A family's process; calls wait for its answer."""

    def __init__(self, family: str, folder: pathlib.Path, python: str, threads: int):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY="PASSIVE", KMP_BLOCKTIME="0")
        self.process = subprocess.Popen(
            [python, str(ROOT / "benchmarks" / "cpu_peers.py"), family, str(folder), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """The worker's answer; {"failed": reason} also if it died."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"failed": "its process ended"}
        for line in self.process.stdout:
            if line.startswith("{"):  # not what a library prints
                return json.loads(line)
        return {"failed": f"its process ended with status {self.process.wait()}"}

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="base", choices=MODELS)
    parser.add_argument("--rows", type=parse_rows, default=[(1, 128), (8, 128), (8, 384)], help="BATCHxLENGTH,...")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    families = ",".join(CANDIDATES)
    parser.add_argument("--families", default=families, help=f"default: {families}")
    parser.add_argument("--baseline", default=STOCK, help=f"whose time over a candidate's is its speed-up; default: {STOCK}")
    parser.add_argument("--case", type=pathlib.Path, metavar="DIR", help="keep weights and inputs there, and use what is there")
    parser.add_argument("--python", action="append", default=[], metavar="FAMILY=PYTHON", help="another interpreter for a family")
    parser.add_argument("--out", default=".", type=pathlib.Path)
    return parser.parse_args(arguments)


def open_case(folder: pathlib.Path, model: str, rows: list[tuple[int, int]]) -> Case:
    """The case in the folder if it is of that model and has those rows, or else a new one."""
    if (folder / "job.json").exists():
        case = Case.read(folder)
        found = {(row.batch, row.seq_len): row for row in case.rows}
        if (case.model, case.dtype) == (model, "float32") and all(row in found for row in rows):
            return dataclasses.replace(case, rows=tuple(found[row] for row in rows))
    folder.mkdir(parents=True, exist_ok=True)
    return Case.write(folder, model, "float32", rows, {})


def check(case: Case, worker: Worker, name: str, row: Row) -> dict[str, Any]:
    """Runs it once; {"relative_error": ...} or {"failed": reason}."""
    output = case.folder / "output.npy"
    answer = worker.ask(check=name, row=[row.batch, row.seq_len], output=str(output))
    if "failed" in answer:
        return answer
    error = relative_error(row.select(np.load(output)), case.reference(row))
    limit = LIMITS[name.split()[-1]]
    return {"relative_error": error} if error < limit else {"failed": f"its output differs from float64 by {error:.1e}"}


def measure(
    case: Case, workers: dict[str, Worker], row: Row, rounds: int, baseline: str = STOCK
) -> list[dict[str, Any]]:
    """A result for each candidate: {"name", "relative_error", "milliseconds", "speedup"} or {"name", "failed"}."""
    results = {}
    for family, worker in workers.items():
        for name in CANDIDATES[family]:
            results[name] = {"row": [row.batch, row.seq_len], "name": name, **check(case, worker, name, row)}
    timed = [(name, worker) for family, worker in workers.items() for name in CANDIDATES[family] if "failed" not in results[name]]
    times: dict[str, list[float]] = {name: [] for name, _ in timed}
    for index in range(rounds + 1):  # the first is for warming up
        for name, worker in timed if index % 2 == 0 else reversed(timed):
            answer = worker.ask(time=name, row=[row.batch, row.seq_len])
            if index > 0 and "milliseconds" in answer:
                times[name].append(answer["milliseconds"])
    for name, values in times.items():
        if len(values) < rounds:
            results[name]["failed"] = "a call failed"
            continue
        results[name]["milliseconds"] = statistics.median(values)
        results[name]["fastest"] = min(values)
        if len(times.get(baseline, ())) == rounds:
            results[name]["speedup"] = statistics.median(base / value for base, value in zip(times[baseline], values))
    return list(results.values())


def markdown(model: str, rows: list[tuple[int, int]], results: list[dict[str, Any]], header: str) -> str:
    """Speed-ups over stock TensorFlow, in brackets median milliseconds."""
    by_cell = {(r["name"], tuple(r["row"])): r for r in results}
    names = list(dict.fromkeys(r["name"] for r in results))
    lines = [header, "", f"| BERT-{model} | " + " | ".join(f"{b} x {s}" for b, s in rows) + " | difference |"]
    lines.append("|--" * (len(rows) + 2) + "|")
    for name in names:
        cells, errors = [], []
        for row in rows:
            result = by_cell[name, tuple(row)]
            if "milliseconds" not in result:
                cells.append("-")
                continue
            errors.append(result["relative_error"])
            speedup = f"{result['speedup']:.2f}" if "speedup" in result else "-"
            cells.append(f"{speedup} ({result['milliseconds']:.1f})")
        lines.append(f"| {name} | " + " | ".join(cells) + (f" | {max(errors):.0e} |" if errors else " | - |"))
    reasons = dict.fromkeys(f"{r['name']}: {r['failed']}" for r in results if "failed" in r)
    return "\n".join([*lines, "", *(f"- {reason}" for reason in reasons)])


def cpu_name() -> str:
    try:
        names = [line.partition(":")[2].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    args = parse_arguments()
    pythons = dict(text.split("=", 1) for text in args.python)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        case = open_case(args.case or pathlib.Path(temporary), args.model, args.rows)
        workers = {}
        header, missing = [], []
        for family in args.families.split(","):
            worker = Worker(family, case.folder, pythons.get(family, sys.executable), args.threads)
            answer = worker.ask(versions=True)
            if "failed" in answer:
                missing.append(f"{family}: {answer['failed']}")
                continue
            workers[family] = worker
            header.append(answer["versions"])
        results = []
        with open(args.out / "cpu_encoder.jsonl", "a") as log:
            for row in case.rows:
                for result in measure(case, workers, row, args.rounds, args.baseline):
                    log.write(json.dumps({"model": args.model, "threads": args.threads, **result}) + "\n")
                    log.flush()
                    results.append(result)
        for worker in workers.values():
            worker.close()
    top = f"{cpu_name()}, {args.threads} threads; {', '.join(header)}. Speed-up over {args.baseline} in {args.rounds} rounds (median ms)."
    table = markdown(args.model, args.rows, results, top) + "".join(f"\n- not installed: {text}" for text in missing)
    (args.out / "cpu_encoder.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
