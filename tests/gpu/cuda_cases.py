"""Random cases for the CUDA encoder's C ABI, checked against a float64 encoder in plain PyTorch on the same GPU.

A plain module, so that compute-sanitizer can run a few cases without pytest:

    python -m tests.gpu.cuda_cases FIRST LAST [--small]
"""

from __future__ import annotations

import dataclasses
import random
import sys

import torch

from benchmarks.cuda_encoder import CudaEncoder, EncoderConfig, PackedWeights, random_layers, reference

POISON = 0xFF  # NaN in every floating-point type, -1 in every integer
GUARD = 4096  # bytes behind each buffer that must stay as they were


@dataclasses.dataclass(frozen=True)
class Case:
    """One configuration and one call of it; everything follows from the seed."""

    seed: int
    config: EncoderConfig
    batch: int
    seq_len: int
    lengths: tuple[int, ...] | None  # None: no lengths given, all tokens are valid
    holes: bool  # the valid tokens are given as a mask with holes; then lengths is None
    remove_padding: bool


def random_case(seed: int, small: bool = False) -> Case:
    """Sizes of the usual models more often than odd ones; 0, 1 and S are frequent lengths."""
    rng = random.Random(seed)
    size_per_head = rng.choice([32, 64] * 5 + [2, 6, 8, 18, 24, 40, 48, 80, 96, 112, 128])
    num_heads = rng.choice([h for h in (1, 2, 3, 4, 8, 12, 16) if 16 <= h * size_per_head <= (192 if small else 1024)])
    hidden = num_heads * size_per_head
    inner = rng.choice([4 * hidden, 4 * hidden, 2 * hidden, 7, 33, 100, 1000])
    dtype = rng.choice([torch.float32, torch.float16, torch.bfloat16])
    batch = rng.randint(1, 5 if small else 17)
    seq_len = rng.choice([rng.randint(1, 8), rng.randint(1, 130), rng.randint(1, 130)] + ([] if small else [rng.randint(1, 700)]))
    if not small and seed % 40 == 0:
        batch, seq_len = rng.randint(1, 2), rng.randint(2048, 4096)
    config = EncoderConfig(
        num_layers=rng.randint(1, 4),
        num_heads=num_heads,
        size_per_head=size_per_head,
        inner_size=inner,
        dtype=dtype,
        activation=rng.choice(["gelu_tanh", "gelu_erf", "relu"]),
        layer_norm=rng.choice(["post", "post", "pre"]),
        precision=rng.choice(["default", "default", "tf32"]),
        all_layers=rng.random() < 0.25,
    )
    kind = rng.choice(["lengths"] * 5 + ["holes", "holes", "none"])
    lengths = (
        tuple(rng.choice([0, 1, seq_len] + [rng.randint(0, seq_len)] * 6) for _ in range(batch)) if kind == "lengths" else None
    )
    return Case(seed, config, batch, seq_len, lengths, kind == "holes", rng.random() < 0.7)


def guarded(num_bytes: int) -> torch.Tensor:
    """A poisoned buffer with GUARD bytes more than asked for."""
    return torch.full((num_bytes + GUARD,), POISON, dtype=torch.uint8, device="cuda")


def check_guard(buffer: torch.Tensor, name: str) -> None:
    assert bool((buffer[-GUARD:] == POISON).all()), f"{name}: written beyond its end"


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """2-norm of the difference over that of `want`; NaN where anything is not finite."""
    return float((got.double() - want).norm() / want.norm().clamp_min(1e-30))


def mask_of(case: Case) -> torch.Tensor:
    """int32 [B, S] on the host."""
    if case.holes:
        generator = torch.Generator().manual_seed(case.seed)
        return (torch.rand(case.batch, case.seq_len, generator=generator) < 0.6).to(torch.int32)
    lengths = torch.tensor(case.lengths if case.lengths is not None else [case.seq_len] * case.batch)
    return (torch.arange(case.seq_len)[None, :] < lengths[:, None]).to(torch.int32)


def run_case(case: Case, reference_device: str = "cuda", kernels: str = "fastest") -> tuple[float, float]:
    """Runs the case on poisoned memory, checks what must hold exactly, and returns (relative error, largest absolute error)."""
    config = case.config
    generator = torch.Generator(device="cuda").manual_seed(case.seed)
    layers = random_layers(config, generator)
    mask = mask_of(case)
    num_tokens = int(mask.sum())
    inputs = torch.randn(case.batch, case.seq_len, config.hidden_size, generator=generator, device="cuda").to(config.dtype)
    inputs[(mask == 0).cuda()] = float("nan")  # rows of padding must not be read
    kept = inputs.clone()

    encoder = CudaEncoder(config)
    encoder.choose_kernels(kernels)
    packed = guarded(encoder.packed_bytes())
    weights = PackedWeights(encoder, layers, packed)
    shape = ((config.num_layers,) if config.all_layers else ()) + tuple(inputs.shape)
    size = encoder.workspace_bytes(case.batch, case.seq_len, num_tokens, case.remove_padding)
    workspace = guarded(size)
    outputs = []
    for _ in range(2):
        workspace.fill_(POISON)
        buffer = guarded(inputs.element_size() * torch.Size(shape).numel())
        output = buffer[:-GUARD].view(config.dtype).view(shape)
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
        outputs.append(output)
    check_guard(packed, "packed weights")
    assert torch.equal(inputs.view(torch.uint8), kept.view(torch.uint8)), "the input was changed"
    assert torch.equal(outputs[0].view(torch.uint8), outputs[1].view(torch.uint8)), "two runs differ"
    padding = (mask == 0).cuda().expand(shape[:-1])
    assert not bool(outputs[0][padding].view(torch.uint8).any()), "rows of padding are not zero"

    on_device = [{name: tensor.to(reference_device) for name, tensor in layer.items()} for layer in layers]
    want = reference(config, on_device, inputs.to(reference_device), mask).to("cuda")
    assert bool(torch.isfinite(outputs[0]).all()), "the output is not finite"
    # Pre-LN activations grow with every layer: absolute errors are compared with the output's own scale.
    scale = max(1.0, float(want.abs().mean())) if num_tokens else 1.0
    return relative_error(outputs[0], want), float((outputs[0].double() - want).abs().max()) / scale


def limits(config: EncoderConfig) -> tuple[float, float]:
    """The largest relative and absolute error that are accepted."""
    if config.dtype != torch.float32:
        return 1e-2, float("inf")
    return (5e-3, float("inf")) if config.precision == "tf32" else (1e-5, 1e-4)


def main() -> None:
    first, last = int(sys.argv[1]), int(sys.argv[2])
    for seed in range(first, last):
        case = random_case(seed, small="--small" in sys.argv)
        errors = run_case(case, reference_device="cpu")  # its kernels need no checking
        allowed = limits(case.config)
        assert errors[0] <= allowed[0] and errors[1] <= allowed[1], (case, errors)
        print(seed, "ok", errors, flush=True)


if __name__ == "__main__":
    main()
