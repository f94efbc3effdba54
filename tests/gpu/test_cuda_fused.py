"""The layers whose LayerNorms are part of the products (cuda/fused_layers.h), forced, against a float64 encoder."""

from __future__ import annotations

import dataclasses
import random

import pytest

torch = pytest.importorskip("torch", reason="the C ABI's tests compute their reference with PyTorch")
if not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 9:
    pytest.skip("needs a Hopper GPU", allow_module_level=True)

from benchmarks import cuda_encoder  # noqa: E402

if not cuda_encoder.library_path().exists():
    pytest.skip(f"{cuda_encoder.library_path()} is not built", allow_module_level=True)

from benchmarks.cuda_encoder import CudaEncoder, EncoderConfig, PackedWeights, random_layers, reference  # noqa: E402
from tests.gpu.cuda_cases import Case, limits, relative_error, run_case  # noqa: E402
from tests.gpu.test_graph_cache import Loop  # noqa: E402

pytestmark = pytest.mark.gpu

SHAPES = ((12, 64), (12, 32), (16, 64), (2, 32), (5, 64), (1, 64), (8, 128), (4, 16))  # heads, head size
SMALL = EncoderConfig(num_layers=2, num_heads=4, size_per_head=32, inner_size=512)


def fused_case(seed: int) -> Case:
    """A model that the kernels fit, and a call of 1 to some 5,000 rows."""
    rng = random.Random(seed)
    heads, head = rng.choice(SHAPES)
    config = EncoderConfig(
        num_layers=rng.randint(1, 4),
        num_heads=heads,
        size_per_head=head,
        inner_size=rng.choice([4 * heads * head, 64, 832, 2048]),
        dtype=rng.choice([torch.float16, torch.bfloat16]),
        activation=rng.choice(["gelu_tanh", "gelu_erf", "relu"]),
        all_layers=seed % 4 == 0,
    )
    batch = rng.randint(1, 12)
    seq_len = rng.choice([rng.randint(1, 20), rng.randint(1, 130), rng.randint(1, 400)])
    kind = rng.choice(["lengths", "lengths", "holes", "none"])
    lengths = tuple(rng.choice([0, 1, seq_len, rng.randint(0, seq_len)]) for _ in range(batch)) if kind == "lengths" else None
    return Case(seed, config, batch, seq_len, lengths, kind == "holes", rng.random() < 0.6)


@pytest.mark.parametrize("seed", range(120))
def test_random_configuration(seed: int) -> None:
    case = fused_case(seed)
    relative, _ = run_case(case, kernels="fused")
    assert relative <= limits(case.config)[0], case


def run(config: EncoderConfig, layers, inputs, lengths, kernels: str = "fused") -> torch.Tensor:
    encoder = CudaEncoder(config)
    encoder.choose_kernels(kernels)
    weights = PackedWeights(encoder, layers)
    workspace = torch.full((encoder.workspace_bytes(*inputs.shape[:2], sum(lengths)),), 0xFF, dtype=torch.uint8, device="cuda")
    output = torch.full((config.num_layers, *inputs.shape), float("nan"), dtype=inputs.dtype, device="cuda")
    output = output if config.all_layers else output[0]
    encoder.forward(weights, inputs, output, workspace, lengths=lengths)
    torch.cuda.synchronize()
    return output


def check_like_stock(config: EncoderConfig, layers, inputs, lengths, limit: float = 1e-2) -> None:
    """Relative error under `limit`, and not worse than plain PyTorch operations of the type by more than half."""
    mask = (torch.arange(inputs.shape[1])[None, :] < torch.tensor(lengths)[:, None]).to(torch.int32)
    want = reference(config, layers, inputs, mask)
    error = relative_error(run(config, layers, inputs, lengths), want)
    stock = relative_error(reference(config, layers, inputs, mask, dtype=config.dtype), want)
    print("relative error", error, "stock", stock)
    assert error <= limit and error <= 1.5 * stock


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu_erf"])
@pytest.mark.parametrize("size_per_head", [32, 64])
def test_accuracy_after_12_layers(dtype, activation: str, size_per_head: int) -> None:
    config = EncoderConfig(12, 12, size_per_head, 48 * size_per_head, dtype=dtype, activation=activation)
    generator = torch.Generator(device="cuda").manual_seed(0)
    inputs = torch.randn(4, 128, config.hidden_size, generator=generator, device="cuda").to(dtype)
    check_like_stock(config, random_layers(config, generator), inputs, [128, 77, 1, 40])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("heads", "inner"), [(12, 3072), (16, 4096), (1, 64), (3, 832)])
@pytest.mark.parametrize("rows", [128, 129, 192, 257, 512, 1024, 1025])
def test_row_counts_around_which_the_kernels_change(dtype, heads: int, inner: int, rows: int) -> None:
    """Each kind of product, sums over k shared out or not, with cut tiles and, for 16 heads, more statistics than are preloaded."""
    config = EncoderConfig(2, heads, 64, inner, dtype=dtype, activation="relu" if heads == 3 else "gelu_erf")
    generator = torch.Generator(device="cuda").manual_seed(rows)
    inputs = torch.randn(5, 300, config.hidden_size, generator=generator, device="cuda").to(dtype)
    check_like_stock(config, random_layers(config, generator), inputs, [rows // 5] * 4 + [rows - rows // 5 * 4])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("heads", "rows"),
    [(12, 2049), (12, 4100), (12, 6144), (12, 6129), (12, 8192), (12, 12300), (16, 2300), (16, 6145), (7, 9000), (2, 5000)],
)
def test_tiles_of_many_rows(dtype, heads: int, rows: int) -> None:
    """One to many tiles a block, of all sizes, cut and whole; 7 heads: stages for results close behind those filled early."""
    config = EncoderConfig(2, heads, 64, 256 * heads, dtype=dtype)
    generator = torch.Generator(device="cuda").manual_seed(rows)
    seq_len = -(-rows // 40)
    inputs = torch.randn(40, seq_len, config.hidden_size, generator=generator, device="cuda").to(dtype)
    check_like_stock(config, random_layers(config, generator), inputs, [seq_len] * 39 + [rows - seq_len * 39])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gammas_and_betas_far_from_one_and_zero(dtype) -> None:
    config = dataclasses.replace(SMALL, num_layers=3, num_heads=12, dtype=dtype)
    generator = torch.Generator(device="cuda").manual_seed(1)
    layers = random_layers(config, generator)
    for layer in layers:
        for name in layer:
            if name.endswith("gamma"):
                layer[name].mul_(3.0 * torch.randn(layer[name].shape, generator=generator, device="cuda").to(dtype))
                layer[name][::17] = 0.0
            elif name.endswith("beta"):
                layer[name].mul_(20.0)
    inputs = torch.randn(7, 200, config.hidden_size, generator=generator, device="cuda").to(dtype)
    check_like_stock(config, layers, inputs, [200, 0, 13, 199, 64, 1, 128], limit=2e-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rows_with_a_large_mean(dtype) -> None:
    """What the mean adds to a product is taken out of it again; the sums' own rounding is what plain operations have too."""
    config = dataclasses.replace(SMALL, num_layers=3, num_heads=12, dtype=dtype)
    generator = torch.Generator(device="cuda").manual_seed(2)
    layers = random_layers(config, generator)
    for layer in layers:
        layer["attention_output_bias"].add_(20.0)
        layer["output_bias"].sub_(30.0)
    inputs = torch.randn(5, 150, config.hidden_size, generator=generator, device="cuda")
    inputs += 10.0 * torch.randn(5, 150, 1, generator=generator, device="cuda")
    check_like_stock(config, layers, inputs.to(dtype), [150, 2, 149, 77, 33], limit=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("remove_padding", [True, False])
def test_other_lengths_and_contents_in_the_same_buffers(dtype, remove_padding: bool) -> None:
    loop = Loop(dataclasses.replace(SMALL, dtype=dtype), batch=9, seq_len=130)
    loop.encoder.choose_kernels("fused")
    generator = torch.Generator().manual_seed(1)
    for i in range(12):
        lengths = torch.randint(0, 131, (9,), generator=generator)
        lengths = [int(n) for n in (lengths * 650 / lengths.sum()).round().clamp(0, 130)]
        assert loop.run(lengths, holes=i % 4 == 3, remove_padding=remove_padding) <= 1e-2
    for _ in range(3):
        assert loop.run([130] * 9, remove_padding=remove_padding) <= 1e-2
        assert loop.run([0] * 8 + [1], remove_padding=remove_padding) <= 1e-2


def test_chosen_kernels_are_a_part_of_what_graphs_are_kept_by() -> None:
    """The same buffers with the one and the other kernels in turn: each gives its own bits."""
    loop = Loop(SMALL, batch=4, seq_len=100)
    lengths = [100, 90, 80, 70]
    bits = {}
    for _ in range(3):
        for kernels in ("layers", "fused"):
            loop.encoder.choose_kernels(kernels)
            loop.generator.manual_seed(5)
            assert loop.run(lengths) <= 1e-2
            now = loop.output.clone()
            assert torch.equal(bits.setdefault(kernels, now), now)
    assert not torch.equal(bits["layers"], bits["fused"])


def test_all_layers_as_output_change_no_bit_of_the_last() -> None:
    config = dataclasses.replace(SMALL, num_layers=4, num_heads=12, all_layers=True)
    generator = torch.Generator(device="cuda").manual_seed(4)
    layers = random_layers(config, generator)
    inputs, lengths = torch.randn(4, 60, config.hidden_size, generator=generator, device="cuda").half(), [60, 10, 0, 31]
    got = run(config, layers, inputs, lengths)
    for n in range(1, config.num_layers + 1):
        one = dataclasses.replace(config, num_layers=n, all_layers=False)
        assert torch.equal(got[n - 1], run(one, layers[:n], inputs, lengths))


@pytest.mark.parametrize(
    "rows, heads, before, after",
    [
        (192, 4, "fused", "fused"),
        (2048, 4, "fused", "layers"),
        (2048, 32, "layers", "layers"),
        (12800, 4, "fused", "layers"),
        (12800, 32, "fused", "layers"),
    ],
)
def test_many_rows_are_fused_unless_their_products_are_tuned(rows: int, heads: int, before: str, after: str) -> None:
    config = dataclasses.replace(SMALL, num_layers=1, num_heads=heads)
    generator = torch.Generator(device="cuda").manual_seed(5)
    encoder = CudaEncoder(config)
    weights = PackedWeights(encoder, random_layers(config, generator))
    inputs = torch.randn(rows // 64, 64, config.hidden_size, generator=generator, device="cuda").half()
    workspace = torch.empty(encoder.workspace_bytes(rows // 64, 64, rows), dtype=torch.uint8, device="cuda")

    def bits(kernels: str) -> torch.Tensor:
        encoder.choose_kernels(kernels)
        output = torch.full_like(inputs, float("nan"))
        encoder.forward(weights, inputs, output, workspace)
        torch.cuda.synchronize()
        return output

    for kernels in (before, after):
        other = "layers" if kernels == "fused" else "fused"
        for _ in range(3):  # the third is a graph's
            assert torch.equal(bits("fastest"), bits(kernels)) and not torch.equal(bits("fastest"), bits(other))
        encoder.tune(weights, rows)


def test_capture_in_a_graph() -> None:
    generator = torch.Generator(device="cuda").manual_seed(3)
    layers = random_layers(SMALL, generator)
    inputs, lengths = torch.randn(4, 60, SMALL.hidden_size, generator=generator, device="cuda").half(), [60, 10, 0, 31]
    want = run(SMALL, layers, inputs, lengths)
    encoder = CudaEncoder(SMALL)
    encoder.choose_kernels("fused")
    weights = PackedWeights(encoder, layers)
    workspace = torch.empty(encoder.workspace_bytes(4, 60, sum(lengths)), dtype=torch.uint8, device="cuda")
    output = torch.full_like(inputs, float("nan"))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        encoder.forward(weights, inputs, output, workspace, lengths=lengths)
    for _ in range(3):
        output.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(output, want)


@pytest.mark.parametrize("change", [dict(layer_norm="pre"), dict(inner_size=500), dict(size_per_head=40)])
def test_models_that_do_not_fit_run_as_before(change) -> None:
    config = dataclasses.replace(SMALL, **change)
    case = Case(0, config, 3, 50, (50, 20, 0), False, True)
    assert run_case(case, kernels="fused") == run_case(case, kernels="layers")
