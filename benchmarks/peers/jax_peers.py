"""JAX: one jitted function, padded; attention in plain operations that XLA fuses, and with cuDNN's fused attention on a GPU.

Times: a loop on the device inside of one jitted function, wall time over its length.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from benchmarks.case import Case, Row
from benchmarks.peers.worker import Candidate, Family, NotApplicable, NotInstalled, Prepared, looped_ms, require_gpu_build

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    missing: Exception | None = error
else:
    missing = None


def _norm(x: Any, gamma: Any, beta: Any) -> Any:
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    y = y * jax.lax.rsqrt((y * y).mean(-1, keepdims=True) + 1e-12)
    return (y * gamma.astype(jnp.float32) + beta.astype(jnp.float32)).astype(x.dtype)


def _encoder(x: Any, layers: list[dict[str, Any]], mask: Any, lengths: Any, heads: int, cudnn: bool) -> Any:
    """x: [B, S, H]; mask: additive, [B, 1, 1, S]; lengths: int32 [B]."""
    batch, seq_len, hidden = x.shape
    size = hidden // heads
    for w in layers:
        q, k, v = jnp.split(x @ w["qkv_kernel"] + w["qkv_bias"], 3, axis=-1)
        q, k, v = (t.reshape(batch, seq_len, heads, size) for t in (q, k, v))
        if cudnn:
            context = jax.nn.dot_product_attention(
                q, k, v, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation="cudnn"
            )
        else:
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * (size**-0.5) + mask
            p = jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype)
            context = jnp.einsum("bhqk,bkhd->bqhd", p, v)
        y = context.reshape(x.shape) @ w["attention_output_kernel"] + w["attention_output_bias"]
        x = _norm(x + y, w["attention_layer_norm_gamma"], w["attention_layer_norm_beta"])
        y = jax.nn.gelu(x @ w["intermediate_kernel"] + w["intermediate_bias"], approximate=True)
        y = y @ w["output_kernel"] + w["output_bias"]
        x = _norm(x + y, w["output_layer_norm_gamma"], w["output_layer_norm_beta"])
    return x


class _Jax:
    def __init__(self, case: Case):
        self.case = case
        self.gpu = jax.default_backend() == "gpu"
        if case.dtype in ("tf32", "float32"):
            jax.config.update("jax_default_matmul_precision", "tensorfloat32" if case.dtype == "tf32" else "float32")
        self.layers = []
        for layer in case.layers:
            w = {name: self.array(value) for name, value in layer.items()}
            names = ("query", "key", "value")
            w["qkv_kernel"] = jnp.concatenate([w.pop(f"{n}_kernel") for n in names], axis=1)
            w["qkv_bias"] = jnp.concatenate([w.pop(f"{n}_bias") for n in names])
            self.layers.append(w)

    def array(self, stored: np.ndarray) -> Any:
        return jnp.asarray(stored.view(jnp.bfloat16) if stored.dtype == np.uint16 else stored)

    def candidate(self, name: str, cudnn: bool) -> Candidate:
        def prepare(row: Row) -> Prepared:
            if cudnn and not (self.gpu and self.case.storage_dtype != "float32"):
                raise NotApplicable("cuDNN's attention needs a GPU and 16 bits")
            x = self.array(self.case.input(row))
            mask = jnp.where(jnp.asarray(row.mask())[:, None, None, :], 0.0, -10000.0).astype(x.dtype)
            lengths = jnp.asarray(row.lengths, jnp.int32)
            encoder = functools.partial(_encoder, heads=self.case.num_heads, cudnn=cudnn)

            @jax.jit
            def loop(times: Any, x: Any, layers: Any, mask: Any, lengths: Any) -> Any:
                # Padding rows may be anything; they are fed back too, as zeros, so that they stay numbers.
                valid = (mask == 0)[:, 0, 0, :, None]
                body = lambda _, y: jnp.where(valid, encoder(y, layers, mask, lengths), jnp.zeros((), x.dtype))  # noqa: E731
                return jax.lax.fori_loop(0, times, body, x)

            def run(times: int) -> Any:
                return loop(times, x, self.layers, mask, lengths).block_until_ready()

            return Prepared(lambda: np.asarray(run(1).astype(jnp.float32)), lambda: looped_ms(run))

        return Candidate(name, "jit, loop on the device", True, prepare)


def start(case: Case) -> Family:
    """Runs on JAX's default backend."""
    if missing is not None:
        raise NotInstalled(str(missing))
    require_gpu_build(jax.default_backend() == "gpu", "JAX")
    peer = _Jax(case)
    candidates = [peer.candidate("JAX", cudnn=False)]
    if peer.gpu:
        candidates.append(peer.candidate("JAX cuDNN", cudnn=True))
    device = jax.devices()[0].device_kind if peer.gpu else "CPU"
    return Family(f"jax {jax.__version__}", device, candidates)
