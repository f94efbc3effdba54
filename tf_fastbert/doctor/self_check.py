"""Runs the op on every type that it supports on a device, on fresh random numbers, and compares with BERT's encoder in plain
TensorFlow float64 operations."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import tf_fastbert
from tf_fastbert.doctor.report import Report

_LAYERS, _HEADS, _HEAD_SIZE, _BATCH, _SEQ_LEN = 2, 4, 32, 4, 48
# Relative 2-norm of the difference from float64 that each type's rounding stays well under.
_LIMITS = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 3e-2}


def _plain_encoder(tf: Any, x: Any, lengths: Any, layers: list[tf_fastbert.LayerWeights]) -> Any:
    """BERT's encoder (post-LN, GELU tanh) in TensorFlow operations of x's type; x: [B, S, H]. Padding rows become zero."""
    batch, seq_len, hidden = x.shape
    valid = tf.sequence_mask(lengths, seq_len, x.dtype)
    bias = (1.0 - valid[:, None, None, :]) * -1e9

    def norm(y: Any, gamma: Any, beta: Any) -> Any:
        mean, variance = tf.nn.moments(y, [-1], keepdims=True)
        return (y - mean) * tf.math.rsqrt(variance + 1e-12) * gamma + beta

    def heads(y: Any) -> Any:
        return tf.transpose(tf.reshape(y, [batch, seq_len, _HEADS, _HEAD_SIZE]), [0, 2, 1, 3])

    for layer in layers:
        w = tf_fastbert.LayerWeights(*[tf.cast(value, x.dtype) for value in layer])
        query, key, value = (
            heads(x @ kernel + b)
            for kernel, b in ((w.query_kernel, w.query_bias), (w.key_kernel, w.key_bias), (w.value_kernel, w.value_bias))
        )
        scores = tf.matmul(query, key, transpose_b=True) / _HEAD_SIZE**0.5 + bias
        context = tf.reshape(tf.transpose(tf.nn.softmax(scores) @ value, [0, 2, 1, 3]), [batch, seq_len, hidden])
        x = norm(
            x + context @ w.attention_output_kernel + w.attention_output_bias,
            w.attention_layer_norm_gamma,
            w.attention_layer_norm_beta,
        )
        inner = tf.nn.gelu(x @ w.intermediate_kernel + w.intermediate_bias, approximate=True)
        x = norm(x + inner @ w.output_kernel + w.output_bias, w.output_layer_norm_gamma, w.output_layer_norm_beta)
    return x * valid[..., None]


def _random_layer(rng: np.random.Generator) -> tf_fastbert.LayerWeights:
    from tf_fastbert.op_inputs import weight_shapes

    values = []
    hidden = _HEADS * _HEAD_SIZE
    for name, shape in zip(tf_fastbert.LayerWeights._fields, weight_shapes(hidden, 4 * hidden), strict=True):
        scale = shape[0] ** -0.5 if name.endswith("kernel") else 0.1
        values.append(rng.normal(size=shape) * scale + (1.0 if name.endswith("gamma") else 0.0))
    return tf_fastbert.LayerWeights(*values)


def run(report: Report, tf: Any, device: str) -> None:
    """Two layers on `device` in each type; an error above the type's limit, or a failure, is a problem."""
    errors = report.facts.setdefault("self_check", {}).setdefault(device, {})
    rng = np.random.default_rng(int(time.time()))
    layers = [_random_layer(rng) for _ in range(_LAYERS)]
    lengths = tf.constant(rng.integers(1, _SEQ_LEN + 1, size=_BATCH), tf.int32)
    inputs = rng.normal(size=(_BATCH, _SEQ_LEN, _HEADS * _HEAD_SIZE))
    for name, limit in _LIMITS.items():
        dtype = tf.as_dtype(name)
        # What the op is given, rounding included, is what the reference computes on.
        rounded = [tf_fastbert.LayerWeights(*[tf.cast(value, dtype) for value in layer]) for layer in layers]
        hidden = tf.cast(inputs, dtype)
        with tf.device("/CPU:0"):
            want = _plain_encoder(tf, tf.cast(hidden, tf.float64), lengths, rounded).numpy()
        try:
            with tf.device(device):
                output = tf_fastbert.fast_bert_encoder(
                    hidden, lengths, rounded, num_heads=_HEADS, size_per_head=_HEAD_SIZE, precision="float32"
                )
            error = float(np.linalg.norm(tf.cast(output, tf.float64).numpy() - want) / np.linalg.norm(want))
        except tf.errors.UnimplementedError as problem:
            report.line(f"self-check {device}", f"{name} is not supported here: {problem.message}")
            errors[name] = None
            continue
        except tf.errors.OpError as problem:
            report.problem(f"self-check {device}", f"{name}: {problem.message}")
            continue
        errors[name] = error
        text = f"{name}, relative error {error:.1e} (limit {limit:.0e})"
        if error <= limit:
            report.line(f"self-check {device}", text)
        else:  # NaN too
            report.problem(f"self-check {device}", text)
