#!/usr/bin/env python3
"""Throughput of several GPUs of one host, a process for each: sequences a second of one GPU, of several, and the scaling.

    python benchmarks/multi_gpu.py                          # all GPUs; BERT-base, float16, 32 x 384, padding removed
    python benchmarks/multi_gpu.py --gpus=0,1 --seconds=5 --output=multi_gpu.json

Needs Python with NumPy, the driver and the library with CUDA (TF_FASTBERT_CUDA_LIBRARY=...; see tf_fastbert/cuda/abi.py), no
TensorFlow. Every process sees its own GPU only (CUDA_VISIBLE_DEVICES) and makes its encoder there, tunes its products and runs
once; its output is compared with the other processes'. Then each GPU is measured alone, and 2, 4, ... and all of them together,
started at one moment. The processes stay the same for all of it. A process that does not answer in time is ended and named.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from benchmarks.shapes import MODELS, parse_rows, spread_lengths  # noqa: E402

# Relative 2-norm of the difference between two GPUs' outputs: they may have tuned to other algorithms.
_LIMIT = 0.01
_CALLS_BETWEEN_WAITS = 8


class Failed(Exception):
    """A process or a check failed; the message names the GPU."""


# ---- a process of one GPU: JSON lines on its standard output, commands on its standard input ----


def work(arguments: argparse.Namespace) -> None:
    from tf_fastbert.cuda.driver import Gpu
    from tf_fastbert.cuda.encoder import STORAGE, EncoderConfig, GpuEncoder, random_layers

    def tell(**values: Any) -> None:
        print(json.dumps(values), flush=True)

    gpu = Gpu(0)  # the only one that CUDA_VISIBLE_DEVICES leaves; before the encoder, which is made for the current device
    layers, heads, size_per_head, inner = MODELS[arguments.model]
    config = EncoderConfig(layers, heads, size_per_head, inner, dtype=arguments.dtype)
    encoder = GpuEncoder(gpu, config, random_layers(config))
    (batch, seq_len), = arguments.shape
    lengths = spread_lengths(batch, seq_len)
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((batch, seq_len, config.hidden_size), np.float32).astype(STORAGE[arguments.dtype])
    prepared = encoder.batch(inputs, lengths, remove_padding=True)
    if not arguments.no_tune:
        encoder.tune(sum(lengths))
    for _ in range(5):
        encoder.forward(prepared)
    output = encoder.output(prepared)
    valid = output[0, : lengths[0]].astype(np.float32), output[-1, : lengths[-1]].astype(np.float32)
    np.savez(arguments.result, first=valid[0], last=valid[1])
    tell(ready=True, name=gpu.name, driver=list(gpu.driver_version), ms=gpu.median_ms(lambda: encoder.forward(prepared)))
    for line in sys.stdin:
        start, seconds = map(float, line.split())
        time.sleep(max(0.0, start - time.time()))
        begin, calls = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds:
            for _ in range(_CALLS_BETWEEN_WAITS):
                encoder.forward(prepared)
            gpu.synchronize()
            calls += _CALLS_BETWEEN_WAITS
        elapsed = time.perf_counter() - begin
        tell(calls=calls, seconds=elapsed, began=time.time() - elapsed, late=max(0.0, time.time() - elapsed - start))


# ---- the process that starts the others ----


class Worker:
    """The process of one GPU."""

    def __init__(self, number: int, gpu: str, command: list[str]):
        self.gpu, self.number = gpu, number
        self.process = subprocess.Popen(
            [*command, f"--worker={number}"],
            env={**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.errors: list[str] = []
        for stream, take in ((self.process.stdout, self.lines.put), (self.process.stderr, self.errors.append)):
            threading.Thread(target=self._read, args=(stream, take), daemon=True).start()

    def _read(self, stream: Any, take: Any) -> None:
        for line in stream:
            take(line)
        if stream is self.process.stdout:
            take(None)

    def answer(self, timeout: float, what: str) -> dict[str, Any]:
        """The next JSON line."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"GPU {self.gpu}: no answer in {timeout:.0f} s while {what}; {self._last_words()}") from None
            if line is None:
                self.process.wait(10)
                raise Failed(f"GPU {self.gpu}: its process ended with {self.process.returncode} while {what}; {self._last_words()}")
            if line.startswith("{"):
                return json.loads(line)

    def _last_words(self) -> str:
        time.sleep(0.2)  # its last lines may be on their way
        return "it said: " + (" | ".join(line.strip() for line in self.errors[-4:]) or "nothing")

    def go(self, start: float, seconds: float) -> None:
        try:
            self.process.stdin.write(f"{start} {seconds}\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Failed(f"GPU {self.gpu}: its process is gone ({error}); {self._last_words()}") from error

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def measure(workers: list[Worker], sequences: int, seconds: float) -> dict[str, Any]:
    """Runs the workers at the same time; sequences a second of all together and of each."""
    start = time.time() + 0.5
    for worker in workers:
        worker.go(start, seconds)
    results = [worker.answer(seconds + 60, "measuring") for worker in workers]
    rates = [result["calls"] * sequences / result["seconds"] for result in results]
    return {
        "gpus": [worker.gpu for worker in workers],
        "sequences_per_second": sum(rates),
        "of_each": rates,
        "calls": [result["calls"] for result in results],
        "seconds": [result["seconds"] for result in results],
        "late_seconds": max(result["late"] for result in results),
    }


def compare(files: list[pathlib.Path], gpus: list[str]) -> float:
    """The largest difference of an output from the first GPU's; raises Failed if it is too large."""
    largest = 0.0
    with np.load(files[0]) as loaded:
        first = dict(loaded)
    for path, gpu in zip(files, gpus):
        with np.load(path) as outputs:
            for name, want in first.items():
                got = outputs[name]
                if not np.isfinite(got).all() or not got.any():
                    raise Failed(f"GPU {gpu}: its output is not finite, or all zeros")
                largest = max(largest, float(np.linalg.norm(got - want) / np.linalg.norm(want)))
                if largest > _LIMIT:
                    raise Failed(f"GPU {gpu}: its output differs from GPU {gpus[0]}'s by {largest:.2e} (limit {_LIMIT:.0e})")
    return largest


def run(arguments: argparse.Namespace, report: dict[str, Any]) -> None:
    """Fills `report` as it goes, so that what was measured before a failure is kept."""
    import tempfile

    gpus = arguments.gpus
    (batch, _), = arguments.shape
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), *sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="multi_gpu_") as folder:
        files = [pathlib.Path(folder, f"{i}.npz") for i in range(len(gpus))]
        workers: list[Worker] = []
        try:
            for i, gpu in enumerate(gpus):
                workers.append(Worker(i, gpu, [*command, f"--result={files[i]}"]))
            ready = [worker.answer(arguments.timeout, "making its encoder") for worker in workers]
            report["devices"] = [{"gpu": gpu, **answer} for gpu, answer in zip(gpus, ready)]
            report["largest_difference"] = compare(files, gpus)
            sizes = sorted({1, *(n for n in (2, 4, 8, 16) if n < len(gpus)), len(gpus)})
            groups = [[worker] for worker in workers] + [workers[:n] for n in sizes if n > 1]
            measure(workers, batch, min(1.0, arguments.seconds))  # clocks and caches, not counted
            for group in groups:
                report["runs"].append(measure(group, batch, arguments.seconds))
        finally:
            for worker in workers:
                worker.end()
    alone = sum(r["sequences_per_second"] for r in report["runs"][: len(gpus)]) / len(gpus)
    report["one_gpu"] = alone
    report["scaling"] = {
        str(len(r["gpus"])): r["sequences_per_second"] / alone for r in report["runs"] if len(r["gpus"]) > 1
    }


def show(report: dict[str, Any]) -> None:
    for device in report.get("devices", []):
        driver = ".".join(map(str, device["driver"]))
        print(f"GPU {device['gpu']}: {device['name']}, driver for CUDA {driver}, {device['ms']:.3f} ms a call")
    if "largest_difference" in report:
        print(f"largest difference between the GPUs' outputs: {report['largest_difference']:.1e}")
    for r in report["runs"]:
        each = ", ".join(f"{rate:,.0f}" for rate in r["of_each"])
        print(f"GPU {' and '.join(r['gpus'])}: {r['sequences_per_second']:,.0f} sequences/s ({each})")
    for count, scaling in report.get("scaling", {}).items():
        print(f"{count} GPUs: {scaling:.3f} times one ({100 * scaling / int(count):.1f} % of linear)")


def parse_arguments() -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=lambda text: text.split(","), help="their numbers or UUIDs, such as 0,1 (default: all)")
    parser.add_argument("--model", choices=sorted(MODELS), default="base")
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    parser.add_argument("--shape", type=parse_rows, default=[(32, 384)], help="BATCHxLENGTH, half of it padding (default: 32x384)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (default: 5)")
    parser.add_argument("--timeout", type=float, default=240.0, help="seconds for a process to get ready (default: 240)")
    parser.add_argument("--no_tune", action="store_true", help="take cuBLASLt's first choice of algorithms")
    parser.add_argument("--output", type=pathlib.Path, metavar="FILE", help="write what was measured as JSON, after a failure too")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if len(arguments.shape) != 1:
        parser.error("--shape: one BATCHxLENGTH")
    if not arguments.seconds > 0:
        parser.error("--seconds must be above 0")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    if arguments.worker is not None:
        work(arguments)
        return 0
    from tf_fastbert.cuda import abi
    from tf_fastbert.cuda.driver import device_count

    report: dict[str, Any] = {
        "model": arguments.model, "dtype": arguments.dtype, "shape": list(arguments.shape[0]), "runs": [],
    }  # fmt: skip
    try:
        report["library"] = str(abi.library_path())
        count = device_count()
        arguments.gpus = arguments.gpus or [str(i) for i in range(count)]
        if not count or any(gpu.isdigit() and int(gpu) >= count for gpu in arguments.gpus):
            raise Failed(f"there are {count} GPUs here, not {', '.join(arguments.gpus) or 'one'}")
        run(arguments, report)
    except (Failed, ImportError) as error:
        report["error"] = str(error)
    show(report)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    if "error" in report:
        print(f"error: {report['error']}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
