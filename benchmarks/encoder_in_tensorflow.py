"""Times BERT's encoder inside TensorFlow: the op, the same in plain TensorFlow operations, and those through XLA.

    python benchmarks/encoder_in_tensorflow.py [--dtype float16|bfloat16|float32] [--rows 1x32,8x128,...] [--loop 30] [--no_peers]

Each is called in an in-graph loop (one tf.function that feeds the output back in --loop times, everything stays on the device), as the
ancestor's benchmark did; the time of a call is the loop's wall time over its length, the median over rounds in which the candidates take
turns. `call` is what one call from Python costs: a tf.function around one encoder, its result waited for. Outputs are compared with the
plain operations first. Lengths as in benchmarks/encoder.py: about half of the padded batch is padding.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from benchmarks.shapes import MODELS, spread_lengths  # noqa: E402
from tf_fastbert.ops import LayerWeights, fast_bert_encoder, weight_shapes  # noqa: E402

ROUNDS = 7


def make_layers(layers: int, hidden: int, inner: int, dtype: tf.DType) -> list[LayerWeights]:
    """Random weights of BERT's scale, as variables."""
    rng = np.random.default_rng(1)

    def variable(name: str, shape: tuple[int, ...]) -> tf.Variable:
        offset = 1.0 if name.endswith("gamma") else 0.0
        return tf.Variable(tf.cast(offset + 0.03 * rng.standard_normal(shape), dtype))

    return [LayerWeights(*(variable(n, s) for n, s in weight_shapes(hidden, inner)._asdict().items())) for _ in range(layers)]


def plain_encoder(x: tf.Tensor, mask: tf.Tensor, layers: list[LayerWeights], heads: int) -> tf.Tensor:
    """What Google's transformer_model computes. x: [B, S, H], mask: additive, [B, 1, 1, S]."""
    size = x.shape[-1] // heads

    def norm(y: tf.Tensor, gamma: tf.Variable, beta: tf.Variable) -> tf.Tensor:
        y = tf.cast(y, tf.float32)
        mean, variance = tf.nn.moments(y, axes=[-1], keepdims=True)
        return tf.cast((y - mean) * tf.math.rsqrt(variance + 1e-12), x.dtype) * gamma + beta

    def split(y: tf.Tensor) -> tf.Tensor:
        return tf.transpose(tf.reshape(y, [y.shape[0], y.shape[1], heads, size]), [0, 2, 1, 3])

    for w in layers:
        q, k, v = (split(x @ getattr(w, f"{n}_kernel") + getattr(w, f"{n}_bias")) for n in ("query", "key", "value"))
        p = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * tf.cast(1.0 / math.sqrt(size), x.dtype) + mask)
        context = tf.reshape(tf.transpose(p @ v, [0, 2, 1, 3]), x.shape)
        x = norm(x + context @ w.attention_output_kernel + w.attention_output_bias, w.attention_layer_norm_gamma, w.attention_layer_norm_beta)
        inner = tf.nn.gelu(x @ w.intermediate_kernel + w.intermediate_bias, approximate=True)
        x = norm(x + inner @ w.output_kernel + w.output_bias, w.output_layer_norm_gamma, w.output_layer_norm_beta)
    return x


def looped(encoder: Callable[[tf.Tensor], tf.Tensor], times: int) -> Callable[[tf.Tensor], tf.Tensor]:
    @tf.function
    def loop(x: tf.Tensor) -> tf.Tensor:
        for _ in tf.range(times):
            x = encoder(x)
        return tf.reduce_sum(tf.cast(x, tf.float32))

    return loop


def milliseconds(run: Callable[[], tf.Tensor]) -> float:
    begin = time.perf_counter()
    run().numpy()
    return 1e3 * (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="base")
    parser.add_argument("--dtype", choices=["float16", "bfloat16", "float32"], default="float16")
    parser.add_argument("--rows", default="1x128,8x128,32x128,32x384", help="batch x sequence length, comma separated")
    parser.add_argument("--loop", type=int, default=30, help="calls in one in-graph loop")
    parser.add_argument("--no_peers", action="store_true", help="time the op alone")
    args = parser.parse_args()
    num_layers, heads, size, inner = MODELS[args.model]
    dtype = tf.as_dtype(args.dtype)
    gpus = tf.config.list_physical_devices("GPU")
    device = "/GPU:0" if gpus else "/CPU:0"
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU") if gpus else "CPU"
    print(f"{name}, TensorFlow {tf.__version__}, BERT-{args.model} {args.dtype}; ms per encoder call, median of {ROUNDS} rounds\n")
    columns = ["op", "op, padded", "plain", "XLA"][: 2 if args.no_peers else 4]
    print("| B | S | T | padding | " + " | ".join(columns) + " | op, one call from Python | difference |")
    print("|--" * (len(columns) + 6) + "|")
    with tf.device(device):
        layers = make_layers(num_layers, heads * size, inner, dtype)
        for row in args.rows.split(","):
            batch, seq_len = map(int, row.split("x"))
            lengths = np.array(spread_lengths(batch, seq_len), np.int32)
            x = tf.cast(tf.random.stateless_normal([batch, seq_len, heads * size], seed=(1, 2)), dtype)
            valid = tf.sequence_mask(lengths, seq_len)
            additive = tf.cast(tf.where(valid[:, None, None, :], 0.0, -10000.0), dtype)

            def op(h: tf.Tensor, remove_padding: bool = True, lengths: np.ndarray = lengths) -> tf.Tensor:
                out = fast_bert_encoder(h, lengths, layers, num_heads=heads, size_per_head=size, remove_padding=remove_padding)
                return tf.ensure_shape(out, h.shape)

            def plain(h: tf.Tensor, additive: tf.Tensor = additive) -> tf.Tensor:
                return plain_encoder(h, additive, layers, heads)

            encoders = [op, lambda h, op=op: op(h, False), plain, tf.function(plain, jit_compile=True)][: len(columns)]
            ours, theirs = (tf.cast(f(x), tf.float32)[valid] for f in (tf.function(op), tf.function(plain)))
            difference = float(tf.norm(ours - theirs) / tf.norm(theirs))
            loops = [looped(f, args.loop) for f in encoders]
            for loop in loops:
                milliseconds(lambda: loop(x))
            times = [[milliseconds(lambda: loop(x)) / args.loop for loop in loops] for _ in range(ROUNDS)]
            once = tf.function(lambda h, op=op: tf.reduce_sum(op(h)))
            milliseconds(lambda: once(x))
            call = statistics.median(milliseconds(lambda: once(x)) for _ in range(5 * ROUNDS))
            medians = " | ".join(f"{statistics.median(column):.3f}" for column in zip(*times))
            tokens = int(lengths.sum())
            print(f"| {batch} | {seq_len} | {tokens} | {1 - tokens / (batch * seq_len):.0%} | {medians} | {call:.3f} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    main()
