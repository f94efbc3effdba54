"""A few calls that together run every kernel of the encoder's Hopper paths, for compute-sanitizer (tests/gpu/sanitize.sh).

    python -m tests.gpu.sanitizer_cases [GROUP...]      # groups: few, many, attention, quantized, layers; all without one

Random small models, which sanitize.sh runs too, seldom have the row counts and widths at which these kernels are chosen. Each call's
output is checked against a float64 encoder.
"""

from __future__ import annotations

import sys

import torch

from benchmarks.cuda_encoder import CudaEncoder, EncoderConfig
from tests.gpu.cuda_cases import Case, limits, run_case

BASE, LARGE, MINILM = (12, 64, 3072), (16, 64, 4096), (12, 32, 1536)  # heads, head size, inner size


def _case(shape: tuple[int, int, int], lengths: tuple[int, ...], dtype: torch.dtype = torch.float16, **changed: object) -> Case:
    config = EncoderConfig(1, *shape, dtype=dtype, **changed)
    return Case(sum(lengths), config, len(lengths), max(lengths), lengths, False, True)


FUSED = {
    # SmallGemmKernel: one row, a tile that is not full, sums shared out among one, two, four and eight blocks.
    "few": [
        _case(BASE, (1,)),
        _case(BASE, (16, 0, 3)),
        _case(MINILM, (33, 31), torch.bfloat16),
        _case(LARGE, (77,)),
        _case(BASE, (100, 29)),
        _case(MINILM, (192,), torch.bfloat16),
        _case(BASE, (128, 1, 120, 51)),
        _case(LARGE, (256, 256)),
    ],
    # FusedGemmKernel: from 1,025 rows on; shared tiles, and with more rows tiles in turns and several for a block.
    "many": [_case(BASE, (384, 384, 300, 45)), _case(MINILM, (384, 384, 270), torch.bfloat16), _case(BASE, (372,) * 11)],
}
# Attention: two warpgroups an item; and the copying warpgroup's, from 6,000 tokens on.
ATTENTION = [
    _case(BASE, (200, 65, 1, 128)),
    _case(MINILM, (129, 63, 70, 20), torch.bfloat16),
    _case((1, 64, 128), (512, 385, 193, 192, 63, 17, 1) * 5, torch.bfloat16),
    _case((2, 64, 128), (640,) * 9 + (300,)),
]
LAYERS = [_case(MINILM, (65, 7), torch.float32), _case(BASE, (40, 100, 1)), _case(MINILM, (50,), torch.float32, precision="tf32")]
OTHER = {"attention": ATTENTION, "layers": LAYERS}
QUANTIZED = [
    _case(shape, lengths, quantization=mode, min_quantized_rows=1)
    for mode in ("int8_mode1", "int8_mode2", "fp8")
    for shape, lengths in ((BASE, (130, 71)), (MINILM, (33,)))
]


def check(case: Case, kernels: str) -> None:
    """Runs a case and compares it with float64, whose kernels run on the CPU: they need no checking."""
    relative, absolute = run_case(case, reference_device="cpu", kernels=kernels)
    allowed = limits(case.config)
    assert relative <= allowed[0] and absolute <= allowed[1], (case, relative, absolute)
    print(kernels, case.config.dtype, sum(case.lengths or ()), "rows ok", relative, flush=True)


def check_quantized(case: Case) -> None:
    from tests.gpu.test_quantized_encoder import check_accuracy, prepare, run

    layers, quantized, ranges, inputs, mask = prepare(case)
    assert CudaEncoder(case.config).runs_quantized(int(mask.sum())), "the quantized kernels would not run"
    check_accuracy(case, run(case, quantized, ranges, inputs), layers, quantized, ranges, inputs, mask)
    print(case.config.quantization, int(mask.sum()), "rows ok", flush=True)


def main(arguments: list[str]) -> None:
    known = [*FUSED, "quantized", *OTHER]
    groups = arguments or known
    if unknown := set(groups) - set(known):
        sys.exit(f"error: no group {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    for group in groups:
        if group == "quantized":
            for case in QUANTIZED:
                check_quantized(case)
        else:
            for case in FUSED.get(group) or OTHER[group]:
                check(case, "fused" if group in FUSED else "layers")


if __name__ == "__main__":
    main(sys.argv[1:])
