"""Times BERT's encoder: ours through the C ABI and inside TensorFlow, and every installed peer, same weights, same lengths.

    python benchmarks/encoder.py
    python benchmarks/encoder.py --rows 1x32,8x128 --peers fastbert,torch_packed
    python benchmarks/encoder.py --model large --dtype bfloat16 --padded --out results
    python benchmarks/encoder.py --model large --rows 128x384 --lengths_file squad_lengths.txt --quantization int8_mode2

Every implementation's output is compared with a float64 encoder before it is timed, and the outputs with each other. Lengths
are spread evenly from S / 8 to S - S / 8 (S / 2 if there is one sequence), so about half of a padded batch is padding, or they
are a sample of --lengths_file's; T is the number of valid tokens. Times are medians by CUDA events; inside TensorFlow and JAX, of a
call more in a loop on the device.

A family of peers is a process of its own; --python gives it an interpreter (virtual environment) of its own. What is not
installed is listed as such. The floor is the larger of operations over the rate of an 8192^3 product and of bytes (weights,
input, output) over the rate of a copy, both measured in the same run. Writes encoder.jsonl, encoder.md and encoder.png to --out
(benchmarks/merge.py makes the last two again, also from several runs);
Ctrl-C ends the run with what was measured until then. Each result also goes to encoder_live.jsonl there as soon as it is known.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.case import LIMITS, Case, relative_error  # noqa: E402
from benchmarks.peers import FAMILIES  # noqa: E402
from benchmarks.plot import save_plot_if_possible  # noqa: E402
from benchmarks.report import Report, is_quantized  # noqa: E402
from benchmarks.shapes import MODELS, ROWS, parse_lengths, parse_rows  # noqa: E402
from tf_fastbert.cuda.ceilings import Ceilings  # noqa: E402

QUANTIZATIONS = ("int8_mode1", "int8_mode2", "fp8")
PEERS = ("fastbert", "tensorflow", "torch", "onnxruntime", "jax")
CHEAP = {"torch_packed": "torch", "fastbert_in_tensorflow": "tensorflow"}  # parts of families


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="base", choices=MODELS)
    parser.add_argument("--dtype", default="float16", choices=LIMITS, help="tf32: float32 whose products may round to TF32")
    parser.add_argument("--rows", type=parse_rows, default=list(ROWS), help="BATCHxLENGTH,... (default: BERT's usual ten)")
    parser.add_argument(
        "--peers",
        type=lambda text: text.split(","),
        default=list(PEERS),
        help=f"which of {', '.join((*PEERS, *CHEAP))} (default: all; the last two are the parts that need no compilation)",
    )
    parser.add_argument(
        "--lengths_file",
        type=parse_lengths,
        metavar="FILE",
        help="one length a line: each batch's lengths are a sample of these, cut to its S; also prints examples a second",
    )
    parser.add_argument(
        "--bursts",
        action="store_true",
        help="also time five calls after 20 ms of rest, in turns (ours through the C ABI, torch as graphs, ONNX Runtime): a GPU that"
        " has been busy for longer may be at its power limit, and slower",
    )
    parser.add_argument("--padded", action="store_true", help="also time ours with padding kept")
    parser.add_argument("--no_tune", dest="tune", action="store_false", help="do not also time ours after tuning the products")
    parser.add_argument(
        "--quantization",
        type=lambda text: text.split(","),
        default=[],
        metavar="MODE,...",
        help=f"also time ours in {', '.join(QUANTIZATIONS)}; not counted in the ratios",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="FAMILY=INTERPRETER",
        help="run a family with another Python, such as torch=/venvs/torch/bin/python; may be given more than once",
    )
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one family (default: 600)")
    parser.add_argument("--out", default=".", type=pathlib.Path, help="folder for the results (default: here)")
    parsed = parser.parse_args(arguments)
    for peer in parsed.peers:
        if peer not in (*PEERS, *CHEAP):
            parser.error(f"--peers: {peer!r} is none of {', '.join((*PEERS, *CHEAP))}")
    for mode in parsed.quantization:
        if mode not in QUANTIZATIONS:
            parser.error(f"--quantization: {mode!r} is none of {', '.join(QUANTIZATIONS)}")
    for entry in parsed.python:
        if entry.partition("=")[0] not in PEERS or not entry.partition("=")[2]:
            parser.error(f"--python: {entry!r} is not FAMILY=INTERPRETER with a family of {', '.join(PEERS)}")
    return parsed


def worker(arguments: list[str]) -> None:
    """What a family's process does: `encoder.py --worker FAMILY FOLDER`."""
    family, folder = arguments
    if family == "ceilings":
        from tf_fastbert.cuda.ceilings import measure
        from tf_fastbert.cuda.driver import CudaError, Gpu

        try:
            ceilings = measure(Gpu(), Case.read(pathlib.Path(folder)).dtype)
        except (CudaError, OSError) as error:
            sys.exit(str(error))
        print(json.dumps([ceilings.flops, ceilings.bytes]))
        return
    from benchmarks.peers.worker import run

    run(family, Case.read(pathlib.Path(folder)))


def start_process(family: str, folder: pathlib.Path, python: str, timeout: float) -> tuple[str, str | None]:
    """Runs a family's process. Returns its output, and how it failed or None."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [python, __file__, "--worker", family, str(folder)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return "", f"stopped after {timeout:.0f} s"
    except OSError as error:
        return "", f"{python} cannot be started: {error.strerror}"
    if "Traceback" in done.stderr or done.returncode < 0:
        sys.stderr.write(f"--- {family} ---\n{done.stderr[-3000:]}\n")
    if done.returncode == 0:
        return done.stdout, None
    last = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
    return done.stdout, last[:300]


def measure_ceilings(folder: pathlib.Path, timeout: float) -> tuple[Ceilings | None, str | None]:
    output, problem = start_process("ceilings", folder, sys.executable, timeout)
    return (Ceilings(*json.loads(output)), None) if problem is None else (None, problem)


def compare_outputs(folder: pathlib.Path, results: list[dict[str, Any]]) -> None:
    """Adds to each result but quantized ones how far its output lies from the farthest of the others' of its row."""
    computed = [r for r in results if "milliseconds" in r and not is_quantized(r)]
    outputs = {id(r): np.load(folder / r["output"]) for r in computed}
    for a, b in itertools.combinations(computed, 2):
        if a["row"] == b["row"]:
            apart = relative_error(outputs[id(a)], outputs[id(b)])
            for r in (a, b):
                r["farthest"] = max(r.get("farthest", 0.0), apart)
    for r in results:
        r.pop("output", None)


def run_families(case: Case, families: list[str], args: argparse.Namespace) -> Report:
    """Runs one process after the other and gathers what they wrote."""
    pythons = dict(entry.split("=", 1) for entry in args.python)
    results, header, notes = [], [], []
    ceilings, problem = None, None
    if "fastbert" in families or "torch" in families:
        ceilings, problem = measure_ceilings(case.folder, args.timeout)
    if ceilings is not None:
        rates = (
            f"{ceilings.flops / 1e12:.0f} TFLOP/s in an 8192^3 product, {ceilings.bytes / 1e12:.2f} TB/s in a copy (read + write)"
        )
        notes.append(f"floor: {rates}")
    elif problem is not None:
        notes.append(f"no floor: {problem}")
    for family in families:
        begin = time.perf_counter()
        stopped = False
        try:
            _, problem = start_process(family, case.folder, pythons.get(family, sys.executable), args.timeout)
        except KeyboardInterrupt:
            stopped, problem = True, "stopped"
        path = case.folder / f"results_{family}.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if lines and "not_installed" in lines[0]:
            notes.append(f"{family}: not installed ({lines[0]['not_installed'].splitlines()[0]})")
        elif lines:
            header.append((lines[0]["device"], lines[0]["versions"]))
        if problem is not None:
            notes.append(f"{family}: {problem}; what it had measured until then is in the table")
        results += lines[1:]
        print(f"{family}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        if stopped:
            break
    compare_outputs(case.folder, results)
    devices = list(dict.fromkeys(device for device, _ in header))
    titles = [f"{', '.join(devices) or 'nothing ran'}; BERT-{case.model}, {case.dtype}; milliseconds, medians"]
    titles += [versions for _, versions in header]
    given = {(r.batch, r.seq_len): r.lengths for r in case.rows if r.given is not None}
    return Report(case.model, case.dtype, [(r.batch, r.seq_len) for r in case.rows], titles, results, ceilings, notes, given)


def main() -> None:
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2:])
        return
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was measured until then is reported
    families = [f for f in FAMILIES if f in args.peers or any(CHEAP.get(peer) == f for peer in args.peers)]
    options = {"padded": args.padded, "tune": args.tune, "bursts": args.bursts, "quantization": args.quantization}
    options |= {family: "all" if family in args.peers else "part" for family in CHEAP.values()}
    args.out.mkdir(parents=True, exist_ok=True)
    options["live"] = str(args.out.resolve() / "encoder_live.jsonl")
    with tempfile.TemporaryDirectory(prefix="encoder_benchmark_") as folder:
        case = Case.write(pathlib.Path(folder), args.model, args.dtype, args.rows, options, args.lengths_file)
        report = run_families(case, families, args)
    common = {
        "device": report.header[0].split(";")[0],
        "model": report.model,
        "dtype": report.dtype,
        "versions": report.header[1:],
        "ceilings": report.ceilings and [report.ceilings.flops, report.ceilings.bytes],
    }
    with open(args.out / "encoder.jsonl", "a") as file:
        for result in report.results:
            row = (result["row"][0], result["row"][1])
            given = {"lengths": report.lengths[row]} if row in report.lengths else {}
            floor = report.floor_ms(row, result["padded"])
            file.write(json.dumps({**common, **result, "floor_milliseconds": floor, **given}) + "\n")
    table = report.markdown()
    with open(args.out / "encoder.md", "a") as file:
        file.write(table + "\n\n")
    print(table)
    save_plot_if_possible(report, args.out / "encoder.png")


if __name__ == "__main__":
    main()
