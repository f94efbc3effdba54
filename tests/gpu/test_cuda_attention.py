"""Hopper's three attention kernels through the C ABI: each at the sizes at which it is chosen. No TensorFlow."""

from __future__ import annotations

import dataclasses
import random

import pytest

torch = pytest.importorskip("torch", reason="the C ABI's tests compute their reference with PyTorch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from benchmarks import cuda_encoder  # noqa: E402
from benchmarks.cuda_encoder import CudaEncoder, EncoderConfig, PackedWeights, random_layers, reference  # noqa: E402
from tests.gpu.cuda_cases import Case, limits, relative_error, run_case  # noqa: E402

try:
    cuda_encoder.library_path()
except ImportError as problem:
    pytest.skip(str(problem), allow_module_level=True)

pytestmark = pytest.mark.gpu

CONFIG = EncoderConfig(num_layers=3, num_heads=2, size_per_head=64, inner_size=256, dtype=torch.float16)
HALVES = [torch.float16, torch.bfloat16]

# attention_stream.cuh takes 6,000 tokens and more: each border of its tiles of 64 keys and items of 192 queries, and around them.
BORDERS = tuple(
    map(int, "0 1 2 15 16 17 31 33 48 63 64 65 79 127 128 129 191 192 193 208 255 257 320 383 384 385 511 512".split())
)


def many_lengths(seed: int, seq_len: int, tokens: int = 6000) -> tuple[int, ...]:
    rng = random.Random(seed)
    lengths = [length for length in BORDERS if length <= seq_len]
    while sum(lengths) < tokens:
        lengths.append(rng.choice([rng.randint(1, seq_len), rng.randint(1, seq_len), rng.choice(BORDERS) % (seq_len + 1)]))
    rng.shuffle(lengths)
    return tuple(lengths)


def check(case: Case) -> None:
    relative, absolute = run_case(case)
    allowed = limits(case.config)
    assert relative <= allowed[0] and absolute <= allowed[1], (case, relative, absolute)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seq_len", [40, 128, 512])
@pytest.mark.parametrize("remove_padding", [True, False])
def test_many_tokens(dtype, seq_len: int, remove_padding: bool):
    lengths = many_lengths(seq_len, seq_len)
    check(Case(seq_len, dataclasses.replace(CONFIG, dtype=dtype), len(lengths), seq_len, lengths, False, remove_padding))


@pytest.mark.parametrize("num_heads", [1, 3, 12])
@pytest.mark.parametrize("seed", range(4))
def test_many_tokens_and_heads(num_heads: int, seed: int):
    rng = random.Random(seed)
    lengths = many_lengths(seed, 512, rng.randint(6000, 16000))
    config = dataclasses.replace(CONFIG, num_layers=2, num_heads=num_heads, dtype=HALVES[seed % 2], all_layers=seed == 3)
    check(Case(seed, config, len(lengths), 512, lengths, False, True))


def test_more_keys_than_the_ring_of_stages_holds():
    check(Case(1, CONFIG, 4, 2100, (2100, 1999, 640, 1500), False, True))


def test_all_tokens_valid_and_a_mask_with_holes():
    check(Case(2, CONFIG, 20, 320, None, False, True))
    check(Case(3, CONFIG, 40, 300, None, True, True))


# attention_split.cuh takes 48 to 396 items (tiles of 64 queries and heads) where sequences may have more than 64 tokens.
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("size_per_head", [24, 32, 48, 64])
@pytest.mark.parametrize("lengths", [(384, 200, 65, 1, 128, 0, 63), (129, 128, 127), (512, 31), (700,), (66,) * 12])
def test_few_items(dtype, size_per_head: int, lengths: tuple[int, ...]):
    config = EncoderConfig(num_layers=2, num_heads=12, size_per_head=size_per_head, inner_size=768, dtype=dtype)
    check(Case(len(lengths), config, len(lengths), max(lengths), lengths, False, True))


def run(config: EncoderConfig, layers, inputs: torch.Tensor, lengths) -> torch.Tensor:
    encoder = CudaEncoder(config)
    weights = PackedWeights(encoder, layers)
    batch, seq_len = inputs.shape[:2]
    workspace = torch.full((encoder.workspace_bytes(batch, seq_len, sum(lengths), True),), 0xFF, dtype=torch.uint8, device="cuda")
    output = torch.full_like(inputs, float("nan"))
    encoder.forward(weights, inputs, output, workspace, lengths=lengths)
    torch.cuda.synchronize()
    return output


def inputs_of(config: EncoderConfig, lengths, seq_len: int):
    generator = torch.Generator(device="cuda").manual_seed(7)
    layers = random_layers(config, generator)
    inputs = torch.randn(len(lengths), seq_len, config.hidden_size, generator=generator, device="cuda").to(config.dtype)
    return layers, inputs


@pytest.mark.parametrize("lengths", [many_lengths(11, 512), (384, 200, 65, 20, 128, 63)])
def test_a_sequence_that_is_not_finite_spoils_no_other(lengths):
    """K and V are read a tile at a time, and a tile may reach into the next sequence."""
    config = dataclasses.replace(CONFIG, num_layers=1, num_heads=12)
    layers, inputs = inputs_of(config, lengths, max(lengths))
    want = run(config, layers, inputs, lengths)
    assert bool(torch.isfinite(want).all())
    for spoilt in (0, len(lengths) // 2, len(lengths) - 1):
        changed = inputs.clone()
        changed[spoilt] = float("nan")
        got = run(config, layers, changed, lengths)
        others = [i for i in range(len(lengths)) if i != spoilt]
        assert torch.equal(got[others], want[others]), spoilt


@pytest.mark.parametrize("lengths", [many_lengths(12, 512), (384, 200, 65, 1, 128, 63)])
@pytest.mark.parametrize("factor", [4.0, 16.0])
def test_scores_that_grow_from_tile_to_tile(lengths, factor: float):
    """The maximum that was subtracted first is then far below the later ones."""
    config = dataclasses.replace(CONFIG, num_layers=1, num_heads=12)
    layers, inputs = inputs_of(config, lengths, max(lengths))
    layers[0]["query_kernel"] *= factor
    inputs *= torch.linspace(0.1, 2.0, max(lengths), device="cuda").to(config.dtype)[None, :, None]
    mask = (torch.arange(max(lengths))[None, :] < torch.tensor(lengths)[:, None]).to(torch.int32)
    want = reference(config, layers, inputs, mask)
    got = run(config, layers, inputs, lengths)
    assert bool(torch.isfinite(got).all())
    assert relative_error(got, want) <= 2e-2
