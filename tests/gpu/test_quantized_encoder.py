"""Quantized layers through the C ABI against the arithmetic of quantized_reference.py, over random configurations. No TensorFlow."""

from __future__ import annotations

import dataclasses
import random

import pytest

torch = pytest.importorskip("torch", reason="the C ABI's tests compute their reference with PyTorch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from benchmarks import cuda_encoder  # noqa: E402
from benchmarks.cuda_encoder import (  # noqa: E402
    CudaEncoder,
    EncoderConfig,
    FastBertError,
    PackedWeights,
    random_layers,
    reference,
)
from tests.gpu.cuda_cases import GUARD, POISON, Case, check_guard, guarded, mask_of, relative_error  # noqa: E402
from tests.gpu.quantized_reference import calibrate, quantize_kernels, quantized_reference  # noqa: E402

try:
    cuda_encoder.library_path()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.gpu

MODES = ("int8_mode1", "int8_mode2", "fp8")
SMALL = EncoderConfig(num_layers=2, num_heads=4, size_per_head=32, inner_size=512)
HAS_KERNELS = torch.cuda.get_device_capability() == (9, 0)


def run(case: Case, layers, ranges, inputs: torch.Tensor, kernels: str = "fastest") -> torch.Tensor:
    """Passes on poisoned memory; checks what must hold exactly."""
    config, mask = case.config, mask_of(case)
    encoder = CudaEncoder(config)
    encoder.choose_kernels(kernels)
    packed = guarded(encoder.packed_bytes())
    weights = PackedWeights(encoder, layers, packed, ranges)
    shape = ((config.num_layers,) if config.all_layers else ()) + tuple(inputs.shape)
    size = encoder.workspace_bytes(case.batch, case.seq_len, int(mask.sum()), case.remove_padding)
    workspace = guarded(size)
    buffer = guarded(inputs.element_size() * torch.Size(shape).numel())
    output = buffer[:-GUARD].view(config.dtype).view(shape)
    first = None
    for _ in range(3):  # the third is replayed from a graph, where rows are few
        workspace.fill_(POISON)
        buffer.fill_(POISON)
        encoder.forward(
            weights,
            inputs,
            output,
            workspace,
            lengths=case.lengths,
            mask=mask if case.holes else None,
            remove_padding=case.remove_padding,
            workspace_bytes=size,
        )
        torch.cuda.synchronize()
        check_guard(buffer, "output")
        check_guard(workspace, "workspace")
        first = output.clone() if first is None else first
        assert torch.equal(first.view(torch.uint8), output.view(torch.uint8)), "two passes differ"
    check_guard(packed, "packed weights")
    padding = (mask == 0).cuda().expand(shape[:-1])
    assert not bool(output[padding].view(torch.uint8).any()), "rows of padding are not zero"
    assert bool(torch.isfinite(output).all()), "the output is not finite"
    return output


def prepare(case: Case):
    """(float layers, kernels as the C ABI takes them, ranges, inputs with NaN in the padding, mask)"""
    generator = torch.Generator(device="cuda").manual_seed(case.seed)
    layers = random_layers(case.config, generator)
    mask = mask_of(case)
    shape = (case.batch, case.seq_len, case.config.hidden_size)
    inputs = torch.randn(shape, generator=generator, device="cuda").to(case.config.dtype)
    inputs[(mask == 0).cuda()] = float("nan")
    ranges = calibrate(case.config, layers, inputs, mask)
    return layers, quantize_kernels(case.config, layers, ranges), ranges, inputs, mask


def check_accuracy(case: Case, got: torch.Tensor, layers, quantized, ranges, inputs: torch.Tensor, mask: torch.Tensor) -> None:
    """As far from float64 as the arithmetic's definition is, and near to it.

    Not the same: where a value lies between two 8-bit ones, float16's rounding in front of it decides, and later quantizers multiply
    such differences until they are nearly as large as what 8 bits lose anyway.
    """
    config = case.config
    want = quantized_reference(config, quantized, ranges, inputs, mask)
    exact = reference(config, layers, inputs, mask)
    per_layer = 3.5e-2 if config.quantization == "fp8" else 2e-2  # E4M3 keeps 4 bits of a value
    assert relative_error(got, want) < per_layer * max(1.5, config.num_layers), case
    assert relative_error(got, exact) < 1.2 * relative_error(want, exact) + 5e-3, case


def random_case(seed: int) -> Case:
    """Shapes of the usual models and small ones; 0, 1 and S are frequent lengths."""
    rng = random.Random(seed)
    size_per_head = rng.choice([32, 64])
    num_heads = rng.choice([h for h in (1, 2, 3, 4, 8, 12, 16) if 32 <= h * size_per_head <= 1024])
    hidden = num_heads * size_per_head
    batch, seq_len = rng.randint(1, 12), rng.choice([rng.randint(1, 8), rng.randint(1, 130), rng.randint(1, 400)])
    config = EncoderConfig(
        num_layers=rng.randint(1, 3),
        num_heads=num_heads,
        size_per_head=size_per_head,
        inner_size=rng.choice([4 * hidden, 4 * hidden, 2 * hidden, 32, 96, 1056]),
        dtype=rng.choice([torch.float16, torch.float16, torch.bfloat16]),
        activation=rng.choice(["gelu_tanh", "gelu_erf", "relu"]),
        layer_norm=rng.choice(["post", "post", "post", "pre"]),
        all_layers=rng.random() < 0.25,
        quantization=MODES[seed % 3],
        min_quantized_rows=1,
    )
    kind = rng.choice(["lengths"] * 5 + ["holes", "holes", "none"])
    lengths = (
        tuple(rng.choice([0, 1, seq_len] + [rng.randint(0, seq_len)] * 6) for _ in range(batch)) if kind == "lengths" else None
    )
    return Case(seed, config, batch, seq_len, lengths, kind == "holes", rng.random() < 0.7)


@pytest.mark.skipif(not HAS_KERNELS, reason="the quantized products need compute capability 9.0")
@pytest.mark.parametrize("seed", range(45))
def test_random_configurations(seed: int) -> None:
    case = random_case(seed)
    layers, quantized, ranges, inputs, mask = prepare(case)
    assert CudaEncoder(case.config).runs_quantized(1)
    got = run(case, quantized, ranges, inputs)
    if int(mask.sum()):
        check_accuracy(case, got, layers, quantized, ranges, inputs, mask)


@pytest.mark.skipif(not HAS_KERNELS, reason="the quantized products need compute capability 9.0")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(12, 64, 3072), (16, 64, 4096), (12, 32, 1536)], ids=["base", "large", "minilm"])
def test_usual_models(mode: str, shape: tuple[int, int, int]) -> None:
    """Many tokens, each tile of the products, and a first choice of the path by its row count."""
    config = EncoderConfig(2, *shape, quantization=mode)
    case = Case(7, config, 32, 128, tuple(range(64, 128, 2)), False, True)
    layers, quantized, ranges, inputs, mask = prepare(case)
    assert CudaEncoder(config).runs_quantized(int(mask.sum()))
    check_accuracy(case, run(case, quantized, ranges, inputs), layers, quantized, ranges, inputs, mask)


@pytest.mark.skipif(not HAS_KERNELS, reason="the quantized products need compute capability 9.0")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [6144, 5777, 9001, 12480])
@pytest.mark.parametrize("shape", [(12, 64, 3072), (11, 64, 2816)], ids=["base", "narrower"])
def test_large_tiles(mode: str, rows: int, shape: tuple[int, int, int]) -> None:
    """So many tokens that the products take the largest tiles: whole ones, a rest of rows and of columns, one round and several."""
    config = EncoderConfig(1, *shape, quantization=mode)
    lengths = (96,) * (rows // 96) + ((rows % 96,) if rows % 96 else ())
    case = Case(rows, config, len(lengths), 96, lengths, False, True)
    layers, quantized, ranges, inputs, mask = prepare(case)
    assert CudaEncoder(config).runs_quantized(rows)
    check_accuracy(case, run(case, quantized, ranges, inputs), layers, quantized, ranges, inputs, mask)


def dequantize(case: Case, layers, quantized, ranges) -> None:
    """Puts what the quantized kernels stand for in the places of the layers' own."""
    for layer, original, r in zip(layers, quantized, ranges):
        for name in cuda_encoder.KERNEL_NAMES if case.config.quantization != "fp8" else ():
            layer[name] = (original[name].float() * (r[name] / 127.0)).to(case.config.dtype)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernels", ["fastest", "fused", "layers"])
def test_few_rows_run_on_dequantized_kernels(mode: str, kernels: str) -> None:
    config = dataclasses.replace(SMALL, quantization=mode)
    case = Case(3, config, 2, 9, (9, 1), False, True)
    layers, quantized, ranges, inputs, mask = prepare(case)
    assert not CudaEncoder(config).runs_quantized(10)
    got = run(case, quantized, ranges, inputs, kernels)
    dequantize(case, layers, quantized, ranges)
    assert relative_error(got, reference(config, layers, inputs, mask)) < 1e-2


@pytest.mark.skipif(not HAS_KERNELS, reason="the fused products need compute capability 9.0")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("all_layers", [False, True])
def test_few_rows_take_the_fused_kernels(mode: str, dtype: torch.dtype, all_layers: bool) -> None:
    """As a float model's rows do, bit for bit, given the dequantized kernels."""
    config = EncoderConfig(3, 12, 64, 3072, dtype=dtype, quantization=mode, all_layers=all_layers)
    case = Case(8, config, 3, 70, (70, 1, 33), False, True)
    layers, quantized, ranges, inputs, _ = prepare(case)
    got = {kernels: run(case, quantized, ranges, inputs, kernels) for kernels in ("fastest", "fused", "layers")}
    assert torch.equal(got["fastest"], got["fused"]) and not torch.equal(got["fastest"], got["layers"])
    dequantize(case, layers, quantized, ranges)
    plain = dataclasses.replace(case, config=dataclasses.replace(config, quantization="none"))
    assert torch.equal(got["fastest"], run(plain, layers, None, inputs))


@pytest.mark.skipif(not HAS_KERNELS, reason="the quantized products need compute capability 9.0")
def test_quantized_passes_are_not_fused() -> None:
    config = dataclasses.replace(SMALL, quantization="int8_mode1", min_quantized_rows=1)
    case = Case(9, config, 2, 40, (40, 11), False, True)
    _, quantized, ranges, inputs, _ = prepare(case)
    assert torch.equal(run(case, quantized, ranges, inputs, "fused"), run(case, quantized, ranges, inputs))


@pytest.mark.parametrize(
    "config",
    [
        dataclasses.replace(SMALL, dtype=torch.float32),
        dataclasses.replace(SMALL, size_per_head=18),
        dataclasses.replace(SMALL, inner_size=100),
    ],
    ids=["float32", "head18", "inner100"],
)
def test_what_the_quantized_kernels_lack_runs_dequantized(config: EncoderConfig) -> None:
    config = dataclasses.replace(config, quantization="int8_mode1", min_quantized_rows=1)
    case = Case(4, config, 3, 20, (20, 1, 7), False, True)
    _, quantized, ranges, inputs, mask = prepare(case)
    assert not CudaEncoder(config).runs_quantized(1 << 20)
    got = run(case, quantized, ranges, inputs)
    restored = [dict(layer) for layer in quantized]
    for layer, r in zip(restored, ranges):
        for name in cuda_encoder.KERNEL_NAMES:
            layer[name] = layer[name].double() * (r[name].double() / 127.0)
    assert relative_error(got, reference(config, restored, inputs, mask)) < 1e-2


def test_refusals() -> None:
    config = dataclasses.replace(SMALL, quantization="int8_mode2", min_quantized_rows=1)
    case = Case(5, config, 1, 4, (4,), False, True)
    layers, quantized, ranges, _, _ = prepare(case)
    encoder = CudaEncoder(config)
    with pytest.raises(FastBertError, match="needs ranges"):
        PackedWeights(encoder, quantized)
    with pytest.raises(FastBertError, match="no quantization"):
        PackedWeights(CudaEncoder(SMALL), layers, ranges=ranges)
    broken = [dict(r) for r in ranges]
    broken[1]["context"] = float("nan")
    with pytest.raises(FastBertError, match="layer 1: the range of the input of attention_output_kernel is nan"):
        PackedWeights(encoder, quantized, ranges=broken)
    with pytest.raises(FastBertError, match="min_quantized_rows = -1"):
        CudaEncoder(dataclasses.replace(config, min_quantized_rows=-1))
