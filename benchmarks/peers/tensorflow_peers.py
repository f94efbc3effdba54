"""Inside TensorFlow: the op, the same arithmetic in TensorFlow's own operations (Google's graph), and those through XLA.

Times: an in-graph loop (one tf.function that feeds the output back, everything stays on the device), the wall time of a call more in
it; what starting the loop takes is said beside the table. What TensorFlow's own work on the host takes is measured with the same
loop on sequences of no tokens: the op is dispatched as ever, and the GPU writes zeros. As long as that is less than the encoder's
time, it is hidden by it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Row
from benchmarks.peers.worker import (
    Candidate,
    Family,
    NotApplicable,
    NotInstalled,
    Prepared,
    loop_times,
    looped_ms,
    require_gpu_build,
)

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
try:
    import tensorflow as tf
except ImportError as error:
    missing: Exception | None = error
else:
    missing = None


def plain_encoder(
    x: Any, mask: Any, layers: list[Any], heads: int, watch: Callable[[str, Any], None] = lambda name, values: None
) -> Any:
    """What Google's transformer_model computes. x: [B, S, H]; mask: additive, [B, 1, 1, S]; layers: LayerWeights.

    watch: called with the inputs of the products with kernels, named as quantizers are.
    """
    size = x.shape[-1] // heads

    def norm(y: Any, gamma: Any, beta: Any) -> Any:
        y = tf.cast(y, tf.float32)
        mean, variance = tf.nn.moments(y, axes=[-1], keepdims=True)
        return tf.cast((y - mean) * tf.math.rsqrt(variance + 1e-12), x.dtype) * gamma + beta

    def split(y: Any) -> Any:
        return tf.transpose(tf.reshape(y, [y.shape[0], y.shape[1], heads, size]), [0, 2, 1, 3])

    for w in layers:
        watch("attention_input", x)
        q, k, v = (split(x @ getattr(w, f"{n}_kernel") + getattr(w, f"{n}_bias")) for n in ("query", "key", "value"))
        p = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * tf.cast(1.0 / math.sqrt(size), x.dtype) + mask)
        context = tf.reshape(tf.transpose(p @ v, [0, 2, 1, 3]), x.shape)
        watch("context", context)
        y = context @ w.attention_output_kernel + w.attention_output_bias
        x = norm(x + y, w.attention_layer_norm_gamma, w.attention_layer_norm_beta)
        watch("intermediate_input", x)
        y = tf.nn.gelu(x @ w.intermediate_kernel + w.intermediate_bias, approximate=True)
        watch("output_input", y)
        y = y @ w.output_kernel + w.output_bias
        x = norm(x + y, w.output_layer_norm_gamma, w.output_layer_norm_beta)
    return x


Encoder = Callable[[Any, "list[Any]"], Any]  # x [B, S, H] and LayerWeights -> [B, S, H]


class _TensorFlow:
    def __init__(self, case: Case):
        from tf_fastbert.ops import LayerWeights

        self.case = case
        self.gpus = tf.config.list_physical_devices("GPU")
        self.device = "/GPU:0" if self.gpus else "/CPU:0"
        tf.config.experimental.enable_tensor_float_32_execution(case.dtype == "tf32")
        with tf.device(self.device):
            self.layers = [
                LayerWeights(**{name: self.variable(value) for name, value in layer.items()}) for layer in case.layers
            ]

    def variable(self, stored: np.ndarray) -> Any:
        # In TensorFlow's own memory, as a checkpoint's values are: on a CPU the op would look through an array for changes.
        with tf.device("/CPU:0"):
            value = tf.raw_ops.DeepCopy(x=tf.constant(self.array(stored)))
        return tf.Variable(value)

    def array(self, stored: np.ndarray) -> np.ndarray:
        return stored.view(tf.bfloat16.as_numpy_dtype) if stored.dtype == np.uint16 else stored

    def read_layers(self) -> list[Any]:
        """The weights, read from their variables where the graph is now: once a turn of the loop."""
        return [type(layer)(*[variable.value() for variable in layer]) for layer in self.layers]

    def op(self, row: Row, remove_padding: bool, no_tokens: bool = False) -> Encoder:
        from tf_fastbert.ops import fast_bert_encoder

        lengths = np.zeros(row.batch, np.int32) if no_tokens else np.array(row.lengths, np.int32)

        def encoder(x: Any, layers: list[Any]) -> Any:
            y = fast_bert_encoder(
                x, lengths, layers, num_heads=self.case.num_heads, size_per_head=self.case.size_per_head,
                remove_padding=remove_padding, precision="tf32" if self.case.dtype == "tf32" else "default",
            )  # fmt: skip
            return tf.ensure_shape(y, x.shape)

        return encoder

    def plain(self, row: Row, xla: bool) -> Encoder:
        with tf.device(self.device):
            valid = tf.constant(row.mask())
            mask = tf.cast(tf.where(valid[:, None, None, :], 0.0, -10000.0), tf.as_dtype(self.case.storage_dtype))

        def encoder(x: Any, layers: list[Any]) -> Any:
            return plain_encoder(x, mask, layers, self.case.num_heads)

        return tf.function(encoder, jit_compile=True) if xla else encoder

    def loop(self, encoder: Encoder, calls_per_turn: int) -> Callable[[Any, Any], Any]:
        """A tf.function of x and the number of turns."""

        @tf.function
        def loop(x: Any, turns: Any) -> Any:
            for _ in tf.range(turns):
                layers = self.read_layers()
                for _ in range(calls_per_turn):
                    x = encoder(x, layers)
            return x, tf.reduce_sum(tf.cast(x[0, 0], tf.float32))

        return loop

    def run(self, loop: Callable[[Any, Any], Any], x: Any, turns: int) -> None:
        with tf.device("/CPU:0"):
            turns = tf.constant(turns)
        with tf.device(self.device):
            _, total = loop(x, turns)
        total.numpy()  # waits, and copies one number

    def candidate(self, name: str, padded: bool, encoder_for: Callable[[Row], Encoder], slow: bool = False) -> Candidate:
        # On a GPU several calls in one turn of the loop, so that a fast encoder's time is not the loop's.
        calls_per_turn = 8 if self.gpus and name != "TF" else 1

        def prepare(row: Row) -> Prepared:
            # Scores [B, heads, S, S] and a few copies of them, of which XLA and the plain graph keep several.
            if padded and name.startswith("TF") and row.batch * self.case.num_heads * row.seq_len**2 > 1 << 29:
                raise NotApplicable("its attention scores alone would take gigabytes, and minutes")
            encoder = encoder_for(row)
            loop = self.loop(encoder, calls_per_turn)
            with tf.device(self.device):
                x = tf.constant(self.array(self.case.input(row)))
            once = tf.function(lambda x: encoder(x, self.read_layers()))

            def output() -> np.ndarray:
                with tf.device(self.device):
                    return tf.cast(once(x), tf.float32).numpy()

            return Prepared(output, lambda: looped_ms(lambda turns: self.run(loop, x, turns)) / calls_per_turn)

        return Candidate(name, "in-graph loop", padded, prepare, slow=slow)

    def host_ms(self, row: Row) -> tuple[float, float]:
        """Milliseconds a call of our op on sequences of no tokens, and those of starting the loop."""
        calls_per_turn = 8 if self.gpus else 1
        loop = self.loop(self.op(row, True, no_tokens=True), calls_per_turn)
        with tf.device(self.device):
            x = tf.constant(self.array(self.case.input(row)))
        call, begin = loop_times(lambda turns: self.run(loop, x, turns))
        return call / calls_per_turn, begin


def start(case: Case) -> Family:
    """On a GPU if TensorFlow sees one, else on the CPU. The op's candidates need the op library."""
    if missing is not None:
        raise NotInstalled(str(missing))
    require_gpu_build(bool(tf.config.list_physical_devices("GPU")), "TensorFlow")
    peer = _TensorFlow(case)
    candidates = [peer.candidate("ours in TF", False, lambda row: peer.op(row, True))]
    if case.options["padded"]:
        candidates.append(peer.candidate("ours in TF", True, lambda row: peer.op(row, False)))
    if case.options["tensorflow"] == "all":
        candidates += [
            peer.candidate("TF", True, lambda row: peer.plain(row, False), slow=True),
            peer.candidate("TF XLA", True, lambda row: peer.plain(row, True), slow=True),
        ]
    device = tf.config.experimental.get_device_details(peer.gpus[0]).get("device_name", "GPU") if peer.gpus else "CPU"
    call, begin = peer.host_ms(case.rows[0])
    versions = f"TensorFlow {tf.__version__}; our op in the loop on sequences of no tokens: {call:.3f} ms a call, {begin:.1f} to start"
    return Family(versions, device, candidates)
