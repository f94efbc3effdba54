"""Times one call from Python of a whole question-answering BERT, from token ids to logits: Google's graph, stock and patched.

    python benchmarks/call_from_python.py
    python benchmarks/call_from_python.py --model minilm --rows 1x32,8x128 --floatx float16

Ways to call: Session.run and Session.make_callable on the TF1 graph; and in a TensorFlow 2 process the same graph's SavedModel,
loaded: its signature, and a tf.function around it. "frozen" is what tf_fastbert.freeze_session and tf_fastbert.freeze make: the
same with the weights as constants. `host` is the time until Python goes on, `total` until the logits are there as
arrays; both are medians. Token ids come from host memory each time. The patched graph's logits are compared with the stock ones
first. Random weights; about half of each batch is padding. The stock graph is float32 (Google's code knows nothing else).
Runs on a GPU if TensorFlow sees one.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.shapes import MODELS, parse_rows, spread_lengths  # noqa: E402

LIMITS = {"float32": 1e-3, "float16": 0.05, "bfloat16": 0.2}  # of the logits, relative 2-norm: only to tell right from wrong


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="base", choices=MODELS)
    parser.add_argument("--rows", type=parse_rows, default=[(1, 128), (8, 128), (32, 384)], help="BATCHxLENGTH,...")
    parser.add_argument("--floatx", default="float16", choices=LIMITS, help="type of the patched graph (default: float16)")
    parser.add_argument("--vocab_size", type=int, default=30522, help="rows of the embedding table (default: BERT's 30522)")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for one measurement (default: 1)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also append the results there, a line each")
    parser.add_argument("--worker", nargs=2, metavar=("KIND", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def make_features(batch: int, seq_len: int, vocab_size: int) -> dict[str, np.ndarray]:
    """int32 [B, S] each, as run_squad feeds them."""
    mask = (np.arange(seq_len)[None, :] < np.array(spread_lengths(batch, seq_len))[:, None]).astype(np.int32)
    ids = np.random.default_rng(batch * seq_len).integers(1, vocab_size, (batch, seq_len), np.int32) * mask
    return {"input_ids": ids, "input_mask": mask, "segment_ids": np.zeros_like(mask)}


def medians(call: Callable[[], Any], wait: Callable[[Any], Any], seconds: float) -> dict[str, float]:
    """Milliseconds until call() returns, and until wait(its result) does."""
    for _ in range(3):
        wait(call())
    times: list[tuple[float, float]] = []
    begin = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - begin < seconds and len(times) < 1000):
        start = time.perf_counter()
        result = call()
        called = time.perf_counter()
        wait(result)
        times.append((1e3 * (called - start), 1e3 * (time.perf_counter() - start)))
    return {"host_ms": statistics.median(t[0] for t in times), "total_ms": statistics.median(t[1] for t in times)}


def report_line(variant: str, way: str, row: tuple[int, int], times: dict[str, float], **more: Any) -> None:
    print(json.dumps({"variant": variant, "way": way, "row": row, **times, **more}), flush=True)


def run_tf1(args: argparse.Namespace, folder: pathlib.Path) -> None:
    """Sessions on both graphs; writes the SavedModels and the stock logits for run_tf2."""
    import tf_fastbert
    import tf_fastbert.compat

    tf_fastbert.compat.install()
    import tensorflow.compat.v1 as tf
    from bert import modeling, run_squad

    layers, heads, size, inner = MODELS[args.model]
    config = modeling.BertConfig(
        args.vocab_size, hidden_size=heads * size, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=inner,
        initializer_range=(heads * size) ** -0.5,
    )  # fmt: skip
    device = tf.config.list_physical_devices("GPU")
    name = tf.config.experimental.get_device_details(device[0]).get("device_name", "GPU") if device else "CPU"
    print(json.dumps({"device": f"{name}, TensorFlow {tf.__version__}"}), flush=True)
    values: dict[str, np.ndarray] = {}
    stock_logits: dict[tuple[int, int], list[np.ndarray]] = {}
    for variant in ("stock", "patched"):
        if variant == "patched":
            tf_fastbert.patch(modeling, floatx=args.floatx, run_squad=run_squad)
        graph = tf.Graph()
        with graph.as_default(), tf.Session(graph=graph) as session:
            names = ("input_ids", "input_mask", "segment_ids")
            inputs = {n: tf.placeholder(tf.int32, [None, None], n) for n in names}
            logits = run_squad.create_model(config, False, *inputs.values(), use_one_hot_embeddings=False)
            variables = tf.trainable_variables()
            if variant == "stock":
                tf.set_random_seed(1)
                session.run(tf.global_variables_initializer())
                values = {v.op.name: value for v, value in zip(variables, session.run(variables))}
            else:
                # A copy in TensorFlow's own memory, as a checkpoint's values are: the op would look through a fed array for
                # changes on each call.
                holders = {v.op.name: tf.placeholder(v.dtype.base_dtype, v.shape) for v in variables}
                assigns = [tf.assign(v, tf.raw_ops.DeepCopy(x=holders[v.op.name])).op for v in variables]
                feeds = {h: values[n].astype(h.dtype.as_numpy_dtype) for n, h in holders.items()}
                session.run(assigns, feeds)
            operations = len(tf.graph_util.extract_sub_graph(graph.as_graph_def(), [t.op.name for t in logits]).node)
            call = session.make_callable(list(logits), feed_list=[inputs[n] for n in names])
            frozen = tf_fastbert.freeze_session(session, list(logits), [inputs[n] for n in names])
            for row in args.rows:
                features = make_features(*row, args.vocab_size)
                got = session.run(list(logits), {inputs[n]: features[n] for n in names})
                error = 0.0
                if variant == "stock":
                    stock_logits[row] = got
                else:
                    valid = features["input_mask"] != 0
                    wanted = np.concatenate([x[valid] for x in stock_logits[row]])
                    error = float(np.linalg.norm(np.concatenate([x[valid] for x in got]) - wanted) / np.linalg.norm(wanted))
                    if not error < LIMITS[args.floatx]:
                        sys.exit(f"the patched graph's logits differ from the stock ones by {error:.1e} at {row}: not timed")
                feed = {inputs[n]: features[n] for n in names}
                arrays = [features[n] for n in names]
                more = {"operations": operations, "relative_error": error}
                times = medians(lambda: session.run(list(logits), feed), lambda result: None, args.seconds)
                report_line(variant, "Session.run", row, times, **more)
                times = medians(lambda: call(*arrays), lambda result: None, args.seconds)
                report_line(variant, "make_callable", row, times, **more)
                times = medians(lambda: frozen(*arrays), lambda result: None, args.seconds)
                report_line(variant, "frozen callable", row, times, **more)
            tf.saved_model.simple_save(session, str(folder / variant), inputs, {"start": logits[0], "end": logits[1]})


def run_tf2(args: argparse.Namespace, folder: pathlib.Path) -> None:
    """The SavedModels of run_tf1, loaded."""
    import tensorflow as tf

    import tf_fastbert
    from tf_fastbert import ops

    ops.load_library()
    for variant in ("stock", "patched"):
        loaded = tf.saved_model.load(str(folder / variant))
        signature = loaded.signatures["serving_default"]
        function = tf.function(lambda **features: signature(**features))
        frozen = tf_fastbert.freeze(signature)
        for row in args.rows:
            features = make_features(*row, args.vocab_size)
            for way, target in (("SavedModel's signature", signature), ("tf.function", function), ("frozen function", frozen)):

                def call(target: Callable[..., Any] = target, features: dict[str, np.ndarray] = features) -> Any:
                    return target(**{n: tf.constant(value) for n, value in features.items()})

                times = medians(call, lambda result: [t.numpy() for t in result.values()], args.seconds)
                report_line(variant, way, row, times)


def markdown(device: str, args: argparse.Namespace, lines: list[dict[str, Any]]) -> str:
    """host and total milliseconds of stock and patched by batch and way."""
    by_key = {(tuple(line["row"]), line["way"], line["variant"]): line for line in lines}
    text = [
        f"{device}; BERT-{args.model} for question answering; milliseconds, medians; patched: {args.floatx}, padding removed",
        "",
        "| B | S | way | stock, host | stock, total | patched, host | patched, total | patched / stock |",
        "|--" * 8 + "|",
    ]
    for row in args.rows:
        for way in dict.fromkeys(line["way"] for line in lines):
            stock, patched = (by_key.get((tuple(row), way, variant)) for variant in ("stock", "patched"))
            if stock and patched:
                cells = [stock["host_ms"], stock["total_ms"], patched["host_ms"], patched["total_ms"]]
                numbers = " | ".join(f"{cell:.2f}" for cell in cells)
                text.append(f"| {row[0]} | {row[1]} | {way} | {numbers} | {patched['total_ms'] / stock['total_ms']:.2f} |")
    counts = {line["variant"]: line["operations"] for line in lines if "operations" in line}
    errors = [line["relative_error"] for line in lines if line["variant"] == "patched" and "relative_error" in line]
    if "patched" in counts:
        text += ["", f"- nodes of the graph: stock {counts['stock']}, patched {counts['patched']}"]
        text.append(f"- logits of valid tokens, patched against stock, relative 2-norm: at most {max(errors):.1e}")
    return "\n".join(text)


def run_worker(kind: str, folder: str) -> Iterator[dict[str, Any]]:
    """What a process of its own reports, a record at a time. Ends this one if it fails."""
    env = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", kind, folder]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
        except BaseException:
            process.terminate()
            raise
        if process.wait() != 0:
            errors.seek(0)
            text = errors.read()
            sys.stderr.write(text[-3000:])
            sys.exit(f"error: {kind}: {(text.strip().splitlines() or ['no message'])[-1]}")


def main() -> None:
    args = parse_arguments()
    if args.worker:
        kind, folder = args.worker
        {"tf1": run_tf1, "tf2": run_tf2}[kind](args, pathlib.Path(folder))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was measured until then is reported
    device, lines = "", []
    with tempfile.TemporaryDirectory(prefix="call_from_python_") as folder:
        try:
            for record in (record for kind in ("tf1", "tf2") for record in run_worker(kind, folder)):
                device = record.get("device", device)
                if "way" not in record:
                    continue
                lines.append(record)
                told = "{variant}, {way}, {row[0]}x{row[1]}: {total_ms:.2f} ms".format(**record)
                print(told, file=sys.stderr, flush=True)
                if args.json:
                    with open(args.json, "a") as file:
                        file.write(json.dumps({"device": device, "model": args.model, "floatx": args.floatx, **record}) + "\n")
        except KeyboardInterrupt:
            print("stopped; what was measured until then:", file=sys.stderr)
    print(markdown(device, args, lines))


if __name__ == "__main__":
    main()
