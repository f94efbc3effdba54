"""What `python -m tf_fastbert` prints: which library and which backends would run here, why others would not, and a self-check.

The self-check runs the op on every device and type that it supports here, on fresh random numbers, and compares with BERT's
encoder in plain TensorFlow float64 operations.
"""

from __future__ import annotations

import dataclasses
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tf_fastbert

_LAYERS, _HEADS, _HEAD_SIZE, _BATCH, _SEQ_LEN = 2, 4, 32, 4, 48
# Relative 2-norm of the difference from float64 that each type's rounding stays well under.
_LIMITS = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 3e-2}
# What makes a type fast on a CPU, as /proc/cpuinfo names it.
_CPU_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


@dataclasses.dataclass
class Report:
    """Lines for the user, and whether everything that should work does."""

    write: Callable[[str], None] = print
    healthy: bool = True

    def line(self, name: str, text: Any) -> None:
        self.write(f"{name + ':':<22}{text}")

    def problem(self, name: str, text: Any) -> None:
        self.healthy = False
        self.line(name, f"PROBLEM: {text}")


def _cpu() -> str:
    model, flags = platform.processor() or platform.machine(), set()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    model = value.strip()
                elif key.strip() == "flags":
                    flags = set(value.split())
                    break
    except OSError:
        pass
    found = [name for name in _CPU_FEATURES if name in flags]
    return f"{model} ({', '.join(found) or 'none of ' + ', '.join(_CPU_FEATURES)})"


def _describe_gpus(report: Report, tf: Any, info: dict[str, Any]) -> list[str]:
    """Prints what there is and returns the names of the devices that the op can use."""
    build = tf.sysconfig.get_build_info()
    devices = tf.config.list_physical_devices("GPU")
    if not build.get("is_cuda_build"):
        report.line("GPU", "not used: this TensorFlow is built without CUDA (install tensorflow[and-cuda])")
        return []
    if not devices:
        report.line("GPU", "none that TensorFlow sees (driver, CUDA_VISIBLE_DEVICES, nvidia pip packages; its log says why)")
        return []
    usable = []
    for index, device in enumerate(devices):
        details = tf.config.experimental.get_device_details(device)
        capability = ".".join(map(str, details.get("compute_capability", ()))) or "unknown"
        report.line(f"GPU {index}", f"{details.get('device_name', device.name)}, compute capability {capability}")
        usable.append(f"/GPU:{index}")
    if not info["cuda"]:
        report.problem("GPU backend", "the op library was built without CUDA: run `make build` again where nvcc is")
        return []
    report.line("GPU backend", f"CUDA kernels for {info['cuda_archs']}")
    return usable


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


def _self_check(report: Report, tf: Any, device: str) -> None:
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
            continue
        except tf.errors.OpError as problem:
            report.problem(f"self-check {device}", f"{name}: {problem.message}")
            continue
        text = f"{name}, relative error {error:.1e} (limit {limit:.0e})"
        if error <= limit:
            report.line(f"self-check {device}", text)
        else:  # NaN too
            report.problem(f"self-check {device}", text)


def run(write: Callable[[str], None] = print) -> bool:
    """Writes the report line by line and returns whether everything that should work here does."""
    report = Report(write)
    report.line("tf_fastbert", tf_fastbert.__version__)
    report.line("Python", f"{platform.python_version()} ({sys.executable})")
    try:
        import tensorflow as tf
    except ImportError as error:
        report.problem("TensorFlow", f"cannot be imported ({error}): pip install tensorflow, or tensorflow-cpu")
        return False
    report.line("TensorFlow", tf.__version__)
    report.line("CPU", _cpu())

    from tf_fastbert import ops

    try:
        info = ops.build_info()
        report.line("op library", ops.library_path())
        report.line("built", f"version {info['version']}, for TensorFlow {info['tensorflow']}, oneDNN {info['onednn'] or 'none'}")
        ops.load_library()
    except ImportError as error:
        report.problem("op library", error)
        return False
    for device in ["/CPU:0", *_describe_gpus(report, tf, info)]:
        _self_check(report, tf, device)
    report.write("everything that should work here does" if report.healthy else "something is wrong: see PROBLEM above")
    return report.healthy
