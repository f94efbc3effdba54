"""The quantized layers' arithmetic in plain PyTorch, float64 throughout, written from its definition and apart from the kernels.

A value x with range amax becomes clamp(round_half_even(x * 127 / amax), -127, 127) * amax / 127, or E4M3 of x * 448 / amax. Kernels
are rounded half away from zero, per output channel in mode 1 and per tensor else. Where a backend may keep more precision than a
mode asks for, this follows the CUDA backend: attention and the products in front of it are not quantized beyond their inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from benchmarks.cuda_encoder import EncoderConfig
from tf_fastbert.cuda.abi import KERNEL_NAMES, RANGE_NAMES

Ranges = dict[str, "float | torch.Tensor"]
Hook = Callable[[int, str, torch.Tensor], torch.Tensor]  # layer, name of the range, value -> the value to go on with


def run_layers(
    config: EncoderConfig, layers: Sequence[dict[str, torch.Tensor]], inputs: torch.Tensor, mask: torch.Tensor, hook: Hook
) -> torch.Tensor:
    """The encoder with `hook` called at each quantizer: [B, S, H], or [L, B, S, H]; zero where mask [B, S] is zero."""
    valid = mask.to(inputs.device) != 0
    x = torch.where(valid[..., None], inputs.double(), torch.zeros((), dtype=torch.float64, device=inputs.device))
    batch, seq_len, hidden = x.shape
    bias = torch.where(valid, 0.0, float("-inf")).double()[:, None, None, :]
    bias = torch.where(valid.any(1)[:, None, None, None], bias, torch.zeros_like(bias))
    pre = config.layer_norm == "pre"
    int8_stream = config.quantization == "int8_mode2" and not pre

    def heads(y: torch.Tensor) -> torch.Tensor:
        return y.view(batch, seq_len, config.num_heads, config.size_per_head).transpose(1, 2)

    def attention(i: int, y: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
        q, k, v = (heads(y @ w[n + "_kernel"] + w[n + "_bias"]) for n in ("query", "key", "value"))
        p = torch.softmax(q @ k.transpose(2, 3) / config.size_per_head**0.5 + bias, dim=-1)
        context = hook(i, "context", (p @ v).transpose(1, 2).reshape(batch, seq_len, hidden))
        product = context @ w["attention_output_kernel"]
        return (hook(i, "attention_output_sum", product) if int8_stream else product) + w["attention_output_bias"]

    def feed_forward(i: int, y: torch.Tensor, w: dict[str, torch.Tensor]) -> torch.Tensor:
        y = y @ w["intermediate_kernel"] + w["intermediate_bias"]
        if config.activation == "relu":
            y = torch.relu(y)
        else:
            y = torch.nn.functional.gelu(y, approximate="tanh" if config.activation == "gelu_tanh" else "none")
        product = hook(i, "output_input", y) @ w["output_kernel"]
        return (hook(i, "output_sum", product) if int8_stream else product) + w["output_bias"]

    def norm(y: torch.Tensor, w: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        return torch.nn.functional.layer_norm(y, (hidden,), w[name + "_gamma"], w[name + "_beta"], config.epsilon)

    outputs = []
    for i, layer in enumerate(layers):
        w = {name: tensor.double() for name, tensor in layer.items()}
        for step, f in (("attention", attention), ("output", feed_forward)):
            place = "attention_input" if step == "attention" else "intermediate_input"
            y = hook(i, place, norm(x, w, step + "_layer_norm") if pre else x)
            total = (y if int8_stream else x) + f(i, y, w)
            x = total if pre else norm(total, w, step + "_layer_norm")
        outputs.append(torch.where(valid[..., None], x, torch.zeros_like(x)))
    return torch.stack(outputs) if config.all_layers else outputs[-1]


def calibrate(
    config: EncoderConfig, layers: Sequence[dict[str, torch.Tensor]], inputs: torch.Tensor, mask: torch.Tensor
) -> list[Ranges]:
    """Ranges that hold all of this batch's values; ones that nothing uses are 1."""
    valid = mask.to(inputs.device) != 0
    ranges: list[Ranges] = [dict.fromkeys(RANGE_NAMES, 1.0) for _ in layers]

    def hook(i: int, name: str, value: torch.Tensor) -> torch.Tensor:
        ranges[i][name] = float(value[valid].abs().max()) if bool(valid.any()) else 1.0
        return value

    run_layers(config, layers, inputs, mask, hook)
    for i, layer in enumerate(layers):
        for name in KERNEL_NAMES:
            amax = layer[name].float().abs().amax(0)
            ranges[i][name] = amax if config.quantization == "int8_mode1" else amax.max().expand_as(amax).contiguous()
    return ranges


def quantize_kernels(
    config: EncoderConfig, layers: Sequence[dict[str, torch.Tensor]], ranges: Sequence[Ranges]
) -> list[dict[str, torch.Tensor]]:
    """The layers as the C ABI takes them: six int8 kernels in the int8 modes, unchanged for fp8."""
    if config.quantization == "fp8":
        return list(layers)
    result = []
    for layer, r in zip(layers, ranges):
        quantized = dict(layer)
        for name in KERNEL_NAMES:
            scaled = layer[name].double() * (127.0 / r[name].double())
            quantized[name] = (scaled.sign() * (scaled.abs() + 0.5).floor()).clamp(-127, 127).to(torch.int8)
        result.append(quantized)
    return result


def _e4m3(x: torch.Tensor, amax: float) -> torch.Tensor:
    return (x * (448.0 / amax)).clamp(-448, 448).float().to(torch.float8_e4m3fn).double() * (amax / 448.0)


def quantized_reference(
    config: EncoderConfig,
    quantized: Sequence[dict[str, torch.Tensor]],
    ranges: Sequence[Ranges],
    inputs: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """What the quantized encoder should give for the kernels of quantize_kernels."""
    fp8 = config.quantization == "fp8"

    def hook(i: int, name: str, value: torch.Tensor) -> torch.Tensor:
        amax = float(ranges[i][name])
        if fp8:
            return _e4m3(value, amax)
        return (value * (127.0 / amax)).round().clamp(-127, 127) * (amax / 127.0)

    layers = []
    for layer, r in zip(quantized, ranges):
        restored = dict(layer)
        for name in KERNEL_NAMES:
            if fp8:
                restored[name] = _e4m3(layer[name].double(), float(r[name].max()))
            else:
                restored[name] = layer[name].double() * (r[name].double() / 127.0)
        layers.append(restored)
    return run_layers(config, layers, inputs, mask, hook)
