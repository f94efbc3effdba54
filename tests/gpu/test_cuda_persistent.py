"""The persistent kernel of the CUDA encoder: every size it supports against float64, and many launches at once."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch", reason="the C ABI's tests compute their reference with PyTorch")
if not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 9:
    pytest.skip("needs a Hopper GPU", allow_module_level=True)

from benchmarks import cuda_encoder  # noqa: E402
from benchmarks.cuda_encoder import CudaEncoder, EncoderConfig, PackedWeights, random_layers  # noqa: E402
from tests.gpu.cuda_cases import Case, limits, run_case  # noqa: E402

if not cuda_encoder.library_path().exists():
    pytest.skip(f"{cuda_encoder.library_path()} is not built", allow_module_level=True)

pytestmark = pytest.mark.gpu

SIZES = {  # heads, head size, inner size
    "minilm": (12, 32, 1536),
    "base": (12, 64, 3072),
    "large": (16, 64, 4096),
    "narrow": (1, 64, 64),
    "uneven": (5, 64, 832),
    "relu": (6, 32, 960),
}
TOKENS = (1, 15, 16, 17, 31, 33, 64, 65, 100, 128, 129, 191, 200, 256, 300, 384, 512, 700)


def persistent_case(size: str, tokens: int, dtype: torch.dtype, num_layers: int = 2) -> Case:
    """A call with about that many valid tokens in sequences of any lengths; every third one with holes."""
    rng = random.Random(f"{size} {tokens} {dtype}")
    heads, head, inner = SIZES[size]
    activation = "relu" if size == "relu" else rng.choice(["gelu_tanh", "gelu_erf"])
    config = EncoderConfig(num_layers, heads, head, inner, dtype=dtype, activation=activation)
    kind = rng.choice(["one", "many", "holes"])
    if kind == "one":
        return Case(tokens, config, 1, tokens + rng.choice([0, 5]), (tokens,), False, True)
    seq_len = rng.randint(1, 2 * tokens)
    if kind == "holes":
        return Case(tokens, config, max(1, round(tokens / 0.6 / seq_len)), seq_len, None, True, rng.random() < 0.7)
    lengths = []
    while sum(lengths) < tokens:
        lengths.append(min(rng.choice([0, 1, seq_len, rng.randint(0, seq_len)]), tokens - sum(lengths)))
    return Case(tokens, config, len(lengths), seq_len, tuple(lengths), False, rng.random() < 0.7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("size", SIZES)
def test_against_float64(size: str, tokens: int, dtype: torch.dtype) -> None:
    case = persistent_case(size, tokens, dtype)
    relative, _ = run_case(case, kernels="persistent")
    assert relative <= limits(case.config)[0], case


class Call:
    """One call of a BERT-base on buffers and a stream of its own, and what it gives alone."""

    def __init__(
        self, encoder: CudaEncoder, weights: PackedWeights, generator: torch.Generator, lengths: list[int], seq_len: int
    ):
        self.encoder, self.weights, self.lengths = encoder, weights, lengths
        shape = (len(lengths), seq_len, encoder.config.hidden_size)
        self.inputs = torch.randn(shape, generator=generator, device="cuda").to(encoder.config.dtype)
        self.output = torch.empty_like(self.inputs)
        size = encoder.workspace_bytes(len(lengths), seq_len, sum(lengths))
        self.workspace = torch.empty(size, dtype=torch.uint8, device="cuda")
        self.stream = torch.cuda.Stream()
        torch.cuda.synchronize()
        self.run()
        torch.cuda.synchronize()
        self.want = self.output.clone()
        torch.cuda.synchronize()

    def run(self) -> None:
        with torch.cuda.stream(self.stream):
            self.workspace.fill_(0xFF)
            self.output.fill_(float("nan"))
            self.encoder.forward(self.weights, self.inputs, self.output, self.workspace, lengths=self.lengths)


def base_calls() -> list[Call]:
    config = EncoderConfig(num_layers=12, num_heads=12, size_per_head=64, inner_size=3072)
    generator = torch.Generator(device="cuda").manual_seed(0)
    encoder = CudaEncoder(config)
    encoder.choose_kernels("persistent")
    weights = PackedWeights(encoder, random_layers(config, generator))
    lengths = [([16], 16), ([64], 128), ([100, 7, 0], 100), ([64, 60, 50, 40], 64)]
    return [Call(encoder, weights, generator, *sizes) for sizes in lengths]


def test_four_streams_beside_other_kernels() -> None:
    """Each launch needs all multiprocessors at once; together, and with others in between, none may wait for ever."""
    calls = base_calls()
    matrix = torch.randn(4096, 4096, device="cuda").half()
    side = torch.cuda.Stream()
    for _ in range(10):
        for _ in range(10):
            with torch.cuda.stream(side):
                torch.mm(matrix, matrix)
            for call in calls:
                call.run()
        torch.cuda.synchronize()
        for call in calls:
            assert torch.equal(call.output, call.want)


def test_graphs_on_several_streams() -> None:
    calls = base_calls()
    graphs = []
    for call in calls:
        graphs.append(torch.cuda.CUDAGraph())
        with torch.cuda.graph(graphs[-1], stream=call.stream):
            call.run()
    for _ in range(20):
        for graph, call in zip(graphs, calls):
            with torch.cuda.stream(call.stream):
                graph.replay()
    torch.cuda.synchronize()
    for call in calls:
        assert torch.equal(call.output, call.want)
