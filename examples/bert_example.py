#!/usr/bin/env python3
"""Compares and times BERT's encoder with random weights: TensorFlow's own operations, the op, and the op with padding removed.

    python examples/bert_example.py --batch_size 32 --max_seq_len 32 --head_number 12 --size_per_head 64 --num_layer 12 \\
        --data_type fp32 --test_time 1

Takes the flags of FasterTransformer's bert_example.py, and prints lines of its form. TensorFlow computes in float32, whatever
--data_type is, and products in full on a GPU too. In the int8 modes ranges are those of this very batch, so the cross check is
one, with a wider limit. Needs no checkpoint, and runs on a GPU if TensorFlow has one.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

TYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# Of the 2-norm of the difference to that of TensorFlow's output.
LIMITS = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 3e-2, "int8": 0.25}


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not true or false")
    return text.lower() in ("true", "1")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    sizes = {"batch_size": (1, "batch"), "num_layer": (12, "l"), "max_seq_len": (32, "s"), "head_number": (12, "n")}
    for name, (default, short) in sizes.items():
        parser.add_argument(f"-{short}", f"--{name}", type=int, default=default, metavar="NUMBER", help=f"default: {default}")
    parser.add_argument("-size", "--size_per_head", type=int, default=64, metavar="NUMBER", help="default: 64")
    parser.add_argument("-inter_size", "--inter_size", type=int, default=0, metavar="NUMBER", help="default: 4 x the hidden size")
    parser.add_argument("-d", "--data_type", default="fp32", choices=TYPES)
    parser.add_argument("-avg_seq", "--avg_seq_len", type=int, default=0, metavar="NUMBER", help="default: half of --max_seq_len")
    parser.add_argument("-int8_mode", "--int8_mode", type=int, default=0, choices=(0, 1, 2, 3), help="3 runs 2's kernels")
    parser.add_argument("-test_time", "--test_time", type=int, default=0, choices=(0, 1), help="1: measure too")
    parser.add_argument(
        "-allow_gemm_test", "--allow_gemm_test", type=boolean, nargs="?", const=True, default=False, metavar="true|false",
        help="accepted, changes nothing: see tools/gemm_tune.py",
    )  # fmt: skip
    parser.add_argument("--iterations", type=int, default=50, help="timed calls of each (default: 50)")
    args = parser.parse_args(arguments)
    for name in (*sizes, "size_per_head", "iterations"):
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}, expected 1 or more")
    if args.inter_size < 0 or not 0 <= args.avg_seq_len <= args.max_seq_len:
        parser.error("--inter_size must not be negative, and --avg_seq_len between 0 and --max_seq_len")
    return args


def random_layers(args: argparse.Namespace) -> list[dict[str, np.ndarray]]:
    """float32 weights, of such a scale that activations stay near one."""
    from tf_fastbert.ops import weight_shapes

    rng = np.random.default_rng(0)
    hidden = args.head_number * args.size_per_head

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        scale = shape[0] ** -0.5 if len(shape) == 2 else 0.1
        return (rng.standard_normal(shape, np.float32) * np.float32(scale)) + np.float32(name.endswith("gamma"))

    shapes = weight_shapes(hidden, args.inter_size or 4 * hidden)._asdict()
    return [{name: values(name, shape) for name, shape in shapes.items()} for _ in range(args.num_layer)]


def sequence_lengths(args: argparse.Namespace) -> np.ndarray:
    """int32 [B], around the average."""
    average = args.avg_seq_len or (args.max_seq_len + 1) // 2
    spread = min(average - 1, args.max_seq_len - average)
    return np.random.default_rng(1).integers(average - spread, average + spread, args.batch_size, np.int32, endpoint=True)


def quantize(args: argparse.Namespace, layers: list[Any], x: Any, mask: Any, valid: np.ndarray) -> tuple[list[Any], list[Any]]:
    """int8 kernels, by output channel in mode 1, and the ranges of this batch."""
    import tensorflow as tf

    from benchmarks.peers.tensorflow_peers import plain_encoder
    from tf_fastbert.quantization import amax_list, names

    hidden = args.head_number * args.size_per_head
    quantized, lists = [], []
    seen: dict[str, float] = {}

    def watch(name: str, values: Any) -> None:
        seen[name] = float(np.abs(values.numpy()[valid]).max())

    for layer in layers:
        x = plain_encoder(x, mask, [layer], args.head_number, watch)
        kernels, ranges = {}, {}
        for field in names.KERNELS:
            kernel = getattr(layer, field).numpy()
            ranges[field] = np.abs(kernel).max(axis=0 if args.int8_mode == 1 else None)
            kernels[field] = tf.Variable(np.clip(np.round(kernel * (127 / ranges[field])), -127, 127).astype(np.int8))
        activations = {field: seen.get(field, 10.0) for field in names.ACTIVATIONS}
        quantized.append(layer._replace(**kernels))
        lists.append(amax_list.build(activations, ranges, hidden, args.inter_size or 4 * hidden))
    return quantized, lists


def milliseconds(call: Callable[[], Any], iterations: int) -> float:
    """The median of the wall time of one call, its output waited for."""
    times = []
    for step in range(iterations + 3):
        begin = time.perf_counter()
        call().numpy()
        if step >= 3:
            times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def run(args: argparse.Namespace) -> bool:
    import tensorflow as tf

    from benchmarks.peers.tensorflow_peers import plain_encoder
    from tf_fastbert import ops

    ops.load_library()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    dtype = TYPES[args.data_type]
    lengths = sequence_lengths(args)
    valid = np.arange(args.max_seq_len)[None, :] < lengths[:, None]
    shape = (args.batch_size, args.max_seq_len, args.head_number * args.size_per_head)
    # What is compared: TensorFlow gets the values that --data_type rounds to, in float32.
    x = tf.cast(np.random.default_rng(2).standard_normal(shape, np.float32), dtype)
    rounded = [{name: tf.cast(array, dtype) for name, array in layer.items()} for layer in random_layers(args)]
    stock = [ops.LayerWeights(**{name: tf.Variable(tf.cast(v, tf.float32)) for name, v in layer.items()}) for layer in rounded]
    mask = tf.constant(np.where(valid, 0, -10000)[:, None, None, :].astype(np.float32))
    options: dict[str, Any] = {"num_heads": args.head_number, "size_per_head": args.size_per_head}
    layers = [ops.LayerWeights(**{name: tf.Variable(v) for name, v in layer.items()}) for layer in rounded]
    encode: Callable[..., Any] = functools.partial(ops.fast_bert_encoder, x, lengths, layers, **options)
    label = args.data_type.upper()
    if args.int8_mode:
        label = f"INT8-v{args.int8_mode}"
        kernels, lists = quantize(args, stock, tf.cast(x, tf.float32), mask, valid)
        layers = [a._replace(**{n: getattr(b, n) for n in a._fields if n.endswith("kernel")}) for a, b in zip(layers, kernels)]
        options["quantization"] = f"int8_mode{min(args.int8_mode, 2)}"
        encode = functools.partial(ops.fast_bert_quantized_encoder, x, lengths, layers, lists, **options)
    function = functools.partial(tf.function, autograph=False)
    calls = {
        "TF": function(lambda: plain_encoder(tf.cast(x, tf.float32), mask, stock, args.head_number)),
        "FT-OP": function(lambda: encode(remove_padding=False)),
        "EFF-OP": function(lambda: encode(remove_padding=True)),
    }
    outputs = {name: call().numpy().astype(np.float32)[valid] for name, call in calls.items()}
    passed = True
    for name in ("FT-OP", "EFF-OP"):
        difference = np.abs(outputs[name] - outputs["TF"])
        relative = np.linalg.norm(difference) / np.linalg.norm(outputs["TF"])
        good = bool(relative <= LIMITS["int8" if args.int8_mode else args.data_type])
        passed = passed and good
        print(f"[INFO] Encoder TF v.s. {name.removesuffix('-OP')} with tensor input Cross check {good}")
        print(f"[INFO] Max diff {difference.max()}")
        print(f"[INFO] min diff {difference.min()}")
        print(f"[INFO] relative difference (2-norm) {relative:.2e}")
    if args.test_time:
        for name, call in calls.items():
            precision = "FP32" if name == "TF" else label
            ms = milliseconds(call, args.iterations)
            print(
                f"[INFO] batch_size {args.batch_size} max_seq_len {args.max_seq_len} precision {precision} {args.num_layer} layer "
                f"{name}-time {ms:10.2f} ms ({args.iterations} iterations)"
            )
    return passed


def main() -> None:
    args = parse_arguments()
    try:
        sys.exit(0 if run(args) else 1)
    except (ImportError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
