"""CTranslate2, for benchmarks/cpu_peers.py: its transformer encoder with the case's weights; it skips padding by itself.

It takes tokens, not hidden states, so every row of the input becomes a token with that embedding, and positions add nothing.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.specs import common_spec, transformer_spec

from benchmarks.case import Case, Row


class CTranslate2:
    """A family of benchmarks/cpu_peers.py."""

    def __init__(self, case: Case, threads: int):
        self.case, self.threads = case, threads
        self.versions = f"CTranslate2 {ctranslate2.__version__}"

    def prepare(self, name: str, row: Row) -> Callable[[], np.ndarray]:
        precision = name.split()[-1]
        folder = self.case.folder / f"ctranslate2_{row.name}"
        if not folder.exists():
            write_model(self.case, row, folder)
        model = ctranslate2.Encoder(str(folder), device="cpu", compute_type=precision, intra_threads=self.threads)
        if precision not in model.compute_type:  # "int8" may become "int8_bfloat16"
            raise ValueError(f"it computes in {model.compute_type} on this CPU")
        return functools.partial(_run, model, row, self.case.hidden_size)


def _run(model: Any, row: Row, hidden_size: int) -> np.ndarray:
    tokens = [[b * row.seq_len + s for s in range(length)] for b, length in enumerate(row.lengths)]
    states = np.asarray(model.forward_batch(tokens).last_hidden_state, np.float32)
    output = np.zeros((row.batch, row.seq_len, hidden_size), np.float32)
    output[:, : states.shape[1]] = states
    return output


def write_model(case: Case, row: Row, folder: pathlib.Path) -> None:
    """The case's encoder as a CTranslate2 model whose token b * S + s is row (b, s) of the input."""
    encoder = transformer_spec.TransformerEncoderSpec(
        len(case.layers), case.num_heads, pre_norm=False, activation=common_spec.Activation.GELUTanh
    )
    embeddings = encoder.embeddings[0] if isinstance(encoder.embeddings, list) else encoder.embeddings
    embeddings.weight = case.input(row).reshape(-1, case.hidden_size)
    encoder.scale_embeddings = False
    encoder.position_encodings.encodings = np.zeros((row.seq_len, case.hidden_size), np.float32)
    for layer, w in zip(encoder.layer, case.layers):
        names = ("query", "key", "value")
        attention = layer.self_attention
        _set_linear(attention.linear[0], [w[f"{n}_kernel"] for n in names], [w[f"{n}_bias"] for n in names])
        _set_linear(attention.linear[1], [w["attention_output_kernel"]], [w["attention_output_bias"]])
        _set_linear(layer.ffn.linear_0, [w["intermediate_kernel"]], [w["intermediate_bias"]])
        _set_linear(layer.ffn.linear_1, [w["output_kernel"]], [w["output_bias"]])
        for norm, name in ((attention.layer_norm, "attention"), (layer.ffn.layer_norm, "output")):
            norm.gamma, norm.beta = np.array(w[f"{name}_layer_norm_gamma"]), np.array(w[f"{name}_layer_norm_beta"])
    spec = transformer_spec.TransformerEncoderModelSpec(encoder)
    spec.config.layer_norm_epsilon = 1e-12
    spec.config.unk_token = "0"
    spec.register_vocabulary([str(i) for i in range(row.batch * row.seq_len)])
    spec.validate()
    spec.optimize()
    folder.mkdir()
    spec.save(str(folder))


def _set_linear(linear: Any, kernels: list[np.ndarray], biases: list[np.ndarray]) -> None:
    linear.weight = np.ascontiguousarray(np.concatenate(kernels, 1).T)
    linear.bias = np.concatenate(biases)
