"""PyTorch on a CPU, for benchmarks/cpu_peers.py: padding skipped by hand. Products run over the packed tokens,
scaled_dot_product_attention over each sequence; as they are, compiled (one layer, so that it compiles twelve times sooner), and with
dynamically quantized Linear layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.case import Case, Row


class _Layer(torch.nn.Module):
    """One post-LN layer with tanh-GELU over packed tokens [T, H]."""

    def __init__(self, w: dict[str, np.ndarray], num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        names = ("query", "key", "value")
        self.qkv = self._linear(np.concatenate([w[f"{n}_kernel"] for n in names], 1), np.concatenate([w[f"{n}_bias"] for n in names]))
        self.attention_output = self._linear(w["attention_output_kernel"], w["attention_output_bias"])
        self.intermediate = self._linear(w["intermediate_kernel"], w["intermediate_bias"])
        self.output = self._linear(w["output_kernel"], w["output_bias"])
        self.attention_norm = self._norm(w["attention_layer_norm_gamma"], w["attention_layer_norm_beta"])
        self.output_norm = self._norm(w["output_layer_norm_gamma"], w["output_layer_norm_beta"])

    @staticmethod
    def _linear(kernel: np.ndarray, bias: np.ndarray) -> torch.nn.Linear:
        linear = torch.nn.Linear(*kernel.shape)
        linear.weight.data = torch.from_numpy(np.ascontiguousarray(kernel.T))
        linear.bias.data = torch.from_numpy(np.array(bias))
        return linear

    @staticmethod
    def _norm(gamma: np.ndarray, beta: np.ndarray) -> torch.nn.LayerNorm:
        norm = torch.nn.LayerNorm(len(gamma), eps=1e-12)
        norm.weight.data, norm.bias.data = torch.from_numpy(np.array(gamma)), torch.from_numpy(np.array(beta))
        return norm

    def forward(self, x: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        contexts = []
        for qkv in self.qkv(x).split(lengths):
            q, k, v = qkv.view(1, len(qkv), 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
            contexts.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(qkv), -1))
        x = self.attention_norm(x + self.attention_output(torch.cat(contexts)))
        return self.output_norm(x + self.output(F.gelu(self.intermediate(x), approximate="tanh")))


class Torch:
    """A family of benchmarks/cpu_peers.py."""

    def __init__(self, case: Case, threads: int):
        torch.set_num_threads(threads)
        self.case = case
        self.versions = f"PyTorch {torch.__version__.split('+')[0]}"
        self.layers: dict[tuple[str, bool], list[Any]] = {}

    def make_layers(self, precision: str, compiled: bool, row: Row) -> list[Any]:
        key = (precision, compiled)
        if key not in self.layers:
            layers: list[Any] = [_Layer(w, self.case.num_heads).eval() for w in self.case.layers]
            if precision == "bfloat16":
                layers = [layer.bfloat16() for layer in layers]
            elif precision == "int8":
                layers = [torch.ao.quantization.quantize_dynamic(layer, {torch.nn.Linear}, dtype=torch.qint8) for layer in layers]
            if compiled:
                layers = [torch.compile(layer, dynamic=False) for layer in layers]
            self.layers[key] = layers
        return self.layers[key]

    def prepare(self, name: str, row: Row) -> Callable[[], np.ndarray]:
        precision = name.split()[-1]
        layers = self.make_layers(precision, "compile" in name, row)
        valid = torch.from_numpy(row.mask())
        inputs = torch.from_numpy(self.case.input(row))
        if precision == "bfloat16":
            inputs = inputs.bfloat16()

        @torch.inference_mode()
        def run() -> np.ndarray:
            x = inputs[valid]
            for layer in layers:
                x = layer(x, row.lengths)
            output = torch.zeros_like(inputs)
            output[valid] = x
            return output.float().numpy()

        return run
