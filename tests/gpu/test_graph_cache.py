"""Repeated calls with the same buffers, which run as CUDA graphs from the second time on, and tables of tuned products."""

from __future__ import annotations

import dataclasses
import threading

import pytest

torch = pytest.importorskip("torch", reason="the C ABI's tests compute their reference with PyTorch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from benchmarks import cuda_encoder  # noqa: E402

if not cuda_encoder.library_path().exists():
    pytest.skip(f"{cuda_encoder.library_path()} is not built", allow_module_level=True)

from benchmarks.cuda_encoder import (  # noqa: E402  # noqa: E402
    CudaEncoder,
    EncoderConfig,
    FastBertError,
    PackedWeights,
    load_tuned_table,
    random_layers,
    reference,
)
from tests.gpu.cuda_cases import GUARD, check_guard, guarded, limits, relative_error  # noqa: E402

pytestmark = pytest.mark.gpu

SMALL = EncoderConfig(num_layers=2, num_heads=4, size_per_head=32, inner_size=512)


class Loop:
    """One encoder and one set of buffers, called again and again: `run` with new contents, lengths and poison each time."""

    def __init__(self, config: EncoderConfig, batch: int, seq_len: int, seed: int = 0):
        self.config, self.batch, self.seq_len = config, batch, seq_len
        self.generator = torch.Generator(device="cuda").manual_seed(seed)
        self.layers = random_layers(config, self.generator)
        self.encoder = CudaEncoder(config)
        self.weights = PackedWeights(self.encoder, self.layers)
        torch.cuda.synchronize()
        self.inputs = torch.empty(batch, seq_len, config.hidden_size, dtype=config.dtype, device="cuda")
        self.shape = ((config.num_layers,) if config.all_layers else ()) + tuple(self.inputs.shape)
        self.output = guarded(torch.Size(self.shape).numel() * self.inputs.element_size())
        self.workspace = guarded(self.encoder.workspace_bytes(batch, seq_len, batch * seq_len, False))

    def run(self, lengths, *, holes: bool = False, remove_padding: bool = True) -> float:
        """The relative error of a call with fresh inputs; checks padding, guards and finiteness."""
        mask = (torch.arange(self.seq_len)[None, :] < torch.tensor(lengths)[:, None]).to(torch.int32)
        if holes:
            mask = mask.flip(1).contiguous()
        self.inputs.copy_(torch.randn(self.inputs.shape, generator=self.generator, device="cuda"))
        self.inputs[(mask == 0).cuda()] = float("nan")
        self.output.fill_(0xFF)
        self.workspace.fill_(0xFF)
        output = self.output[:-GUARD].view(self.config.dtype).view(self.shape)
        self.encoder.forward(
            self.weights,
            self.inputs,
            output,
            self.workspace,
            lengths=None if holes else lengths,
            mask=mask if holes else None,
            remove_padding=remove_padding,
            workspace_bytes=self.workspace.numel() - GUARD,
        )
        torch.cuda.current_stream().synchronize()
        check_guard(self.output, "output")
        check_guard(self.workspace, "workspace")
        assert bool(torch.isfinite(output).all())
        padding = (mask == 0).cuda().expand(self.shape[:-1])
        assert not bool(output[padding].view(torch.uint8).any()), "rows of padding are not zero"
        return relative_error(output, reference(self.config, self.layers, self.inputs, mask))


@pytest.mark.parametrize(
    "change",
    [
        {},
        dict(dtype=torch.bfloat16),
        dict(dtype=torch.float32),
        dict(all_layers=True),
        dict(layer_norm="pre"),
        dict(size_per_head=6, inner_size=33),
        dict(activation="gelu_erf", size_per_head=64),
    ],
)
@pytest.mark.parametrize("remove_padding", [True, False])
def test_other_lengths_and_contents_in_the_same_buffers(change, remove_padding: bool):
    loop = Loop(dataclasses.replace(SMALL, **change), batch=9, seq_len=130)
    limit = limits(loop.config)[0]
    generator = torch.Generator().manual_seed(1)
    for i in range(12):
        # Sums of 600 to 700: few buckets, so that graphs are used again with other lengths and numbers of attention's tiles.
        lengths = torch.randint(0, 131, (9,), generator=generator)
        lengths = [int(n) for n in (lengths * 650 / lengths.sum()).round().clamp(0, 130)]
        assert loop.run(lengths, holes=i % 4 == 3, remove_padding=remove_padding) <= limit
    for _ in range(3):
        assert loop.run([130] * 9, remove_padding=remove_padding) <= limit
        assert loop.run([0] * 8 + [1], remove_padding=remove_padding) <= limit


def test_tuning_replaces_what_graphs_hold():
    loop = Loop(SMALL, batch=4, seq_len=100)
    for _ in range(3):
        assert loop.run([100, 90, 80, 70]) < 1e-2
    loop.encoder.tune(loop.weights, 340)
    for _ in range(3):
        assert loop.run([100, 90, 80, 70]) < 1e-2


def test_more_sizes_than_the_cache_keeps():
    loop = Loop(dataclasses.replace(SMALL, num_layers=1), batch=80, seq_len=50)
    for _ in range(2):
        for tokens in range(60, 4000, 50):
            lengths = [min(50, max(0, tokens - 50 * b)) for b in range(80)]
            assert loop.run(lengths) < 1e-2
            assert loop.run(lengths) < 1e-2


def test_threads_with_buffers_of_their_own():
    """Eight threads, one set of weights, each with buffers and a stream of its own, all capturing and replaying at once."""
    first = Loop(SMALL, batch=5, seq_len=120)
    failures = []

    def work(i: int) -> None:
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                loop = Loop(SMALL, batch=5, seq_len=120, seed=0)
                loop.encoder, loop.weights = first.encoder, first.weights
                loop.generator.manual_seed(100 + i)
                for j in range(15):
                    assert loop.run([120, 3 * i + j, 60, 0, 7 * j]) < 1e-2
        except BaseException as e:  # noqa: BLE001 - reported by the main thread
            failures.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_weights_freed_while_their_graph_runs():
    for _ in range(20):
        loop = Loop(SMALL, batch=8, seq_len=128)
        for _ in range(2):
            loop.run([128] * 8)
        output = loop.output[:-GUARD].view(torch.float16).view(loop.shape)
        loop.encoder.forward(loop.weights, loop.inputs, output, loop.workspace, lengths=[128] * 8)
        packed, loop.weights = loop.weights.buffer, None  # the memory stays, the prepared weights go
        torch.cuda.synchronize()
        del packed


def test_tuned_tables_are_used_again():
    loop = Loop(SMALL, batch=2, seq_len=100)
    loop.encoder.tune(loop.weights, 150)
    table = loop.encoder.tuned_table()
    assert torch.cuda.get_device_name() in table and table.count("gemm ") == 5, table  # the header says "gemm table"
    load_tuned_table(table)
    again = Loop(SMALL, batch=2, seq_len=100)
    assert again.encoder.tuned_table() == table
    assert again.run([100, 50]) < 1e-2
    other = Loop(dataclasses.replace(SMALL, inner_size=256), batch=2, seq_len=100)
    assert other.run([100, 50]) < 1e-2


@pytest.mark.parametrize(
    "damage, culprit",
    [
        (lambda t: "", "line 1 "),
        (lambda t: t.replace("table 1", "table 2"), "line 1 "),
        (lambda t: t.replace("gpu ", "gpu another "), "line 8 .* changed or cut"),
        (lambda t: t[: t.index("end")], "line 8 .* is cut"),
        (lambda t: t.replace("gemm 128", "gemm x", 1), "line . "),
        (lambda t: t + "more", "line 9 "),
    ],
)
def test_damaged_tables_are_refused(damage, culprit: str):
    loop = Loop(SMALL, batch=2, seq_len=100)
    loop.encoder.tune(loop.weights, 150)
    with pytest.raises(FastBertError, match="the GEMM table's " + culprit):
        load_tuned_table(damage(loop.encoder.tuned_table()))
