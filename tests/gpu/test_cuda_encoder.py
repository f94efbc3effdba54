"""The CUDA encoder through its C ABI: accuracy over random configurations, limits, streams, threads and graphs. No TensorFlow."""

from __future__ import annotations

import dataclasses
import threading

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
from tests.gpu.cuda_cases import limits, random_case, relative_error, run_case  # noqa: E402

try:
    cuda_encoder.library_path()
except ImportError as problem:
    pytest.skip(str(problem), allow_module_level=True)

pytestmark = pytest.mark.gpu

SMALL = EncoderConfig(num_layers=2, num_heads=4, size_per_head=32, inner_size=512)


class Model:
    """An encoder with weights, and everything a call needs."""

    def __init__(self, config: EncoderConfig, seed: int = 0):
        self.config = config
        self.generator = torch.Generator(device="cuda").manual_seed(seed)
        self.encoder = CudaEncoder(config)
        self.layers = random_layers(config, self.generator)
        self.weights = PackedWeights(self.encoder, self.layers)

    def inputs(self, batch: int, seq_len: int) -> torch.Tensor:
        return torch.randn(batch, seq_len, self.config.hidden_size, generator=self.generator, device="cuda").to(self.config.dtype)

    def run(self, inputs, lengths=None, mask=None, weights=None, remove_padding=True) -> torch.Tensor:
        batch, seq_len = inputs.shape[:2]
        size = self.encoder.workspace_bytes(batch, seq_len, batch * seq_len, remove_padding)
        workspace = torch.full((size,), 0xFF, dtype=torch.uint8, device="cuda")
        output = torch.full_like(inputs, float("nan"))
        self.encoder.forward(
            weights or self.weights, inputs, output, workspace, lengths=lengths, mask=mask, remove_padding=remove_padding
        )
        return output


def prefix_mask(lengths, seq_len: int) -> torch.Tensor:
    return (torch.arange(seq_len)[None, :] < torch.tensor(lengths)[:, None]).to(torch.int32)


@pytest.mark.parametrize("seed", range(240))
def test_random_configuration(seed: int):
    case = random_case(seed)
    relative, absolute = run_case(case)
    allowed = limits(case.config)
    assert relative <= allowed[0] and absolute <= allowed[1], (case, relative, absolute)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size_per_head", [32, 64])
def test_accuracy_after_12_layers(dtype, size_per_head: int):
    config = EncoderConfig(num_layers=12, num_heads=12, size_per_head=size_per_head, inner_size=48 * size_per_head, dtype=dtype)
    model = Model(config)
    inputs = model.inputs(4, 128)
    lengths = [128, 77, 1, 40]
    want = reference(config, model.layers, inputs, prefix_mask(lengths, 128))
    got = model.run(inputs, lengths)
    print("relative error", relative_error(got, want), "largest", float((got.double() - want).abs().max()))
    if dtype == torch.float32:
        assert float((got.double() - want).abs().max()) <= 1e-4
        return
    # Not worse than the same encoder in plain PyTorch operations of that type by more than half.
    stock = reference(config, model.layers, inputs, prefix_mask(lengths, 128), dtype=dtype)
    print("stock relative error", relative_error(stock, want))
    assert relative_error(got, want) <= 1e-2
    assert relative_error(got, want) <= 1.5 * relative_error(stock, want)


def test_every_length_up_to_two_tiles():
    """Each number of tokens from 0 to 130 once, in one batch: all tails of attention's tiles."""
    model = Model(dataclasses.replace(SMALL, num_layers=1))
    lengths = list(range(131))
    inputs = model.inputs(131, 130)
    want = reference(model.config, model.layers, inputs, prefix_mask(lengths, 130))
    assert relative_error(model.run(inputs, lengths), want) < 5e-3


def test_large_batch_of_short_sequences():
    """More sequences and mask positions than one launch's parameters hold."""
    model = Model(dataclasses.replace(SMALL, num_layers=1))
    inputs = model.inputs(1500, 40)
    lengths = [(7 * b) % 41 for b in range(1500)]
    mask = prefix_mask(lengths, 40)
    got = model.run(inputs, lengths)
    assert relative_error(got, reference(model.config, model.layers, inputs, mask)) < 5e-3
    assert torch.equal(got, model.run(inputs, mask=mask))
    holes = (torch.rand(1500, 40, generator=torch.Generator().manual_seed(1)) < 0.5).to(torch.int32)
    assert relative_error(model.run(inputs, mask=holes), reference(model.config, model.layers, inputs, holes)) < 5e-3


def test_all_padding_gives_zeros_and_empty_batches_are_fine():
    model = Model(SMALL)
    assert not bool(model.run(model.inputs(3, 5), lengths=[0, 0, 0]).any())
    for shape in ((0, 5), (3, 0)):
        assert model.run(model.inputs(*shape), lengths=[0] * shape[0]).numel() == 0


def test_padded_and_unpadded_agree():
    model = Model(SMALL)
    inputs = model.inputs(6, 50)
    lengths = [50, 3, 0, 17, 49, 1]
    assert relative_error(model.run(inputs, lengths, remove_padding=False), model.run(inputs, lengths).double()) < 2e-3


def test_repacked_weights_take_effect():
    model = Model(SMALL)
    inputs = model.inputs(2, 33)
    before = model.run(inputs)
    for layer in model.layers:
        for tensor in layer.values():
            tensor.mul_(0.9)
    after = model.run(inputs, weights=PackedWeights(model.encoder, model.layers))
    assert not torch.equal(before, after)
    assert relative_error(after, reference(model.config, model.layers, inputs, torch.ones(2, 33))) < 1e-2


def test_forward_on_another_stream_waits_for_the_weights():
    model = Model(SMALL)
    inputs = model.inputs(2, 33)
    want = model.run(inputs)
    buffer = torch.full((model.encoder.packed_bytes(),), 0xFF, dtype=torch.uint8, device="cuda")
    torch.cuda.synchronize()
    packing, running = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(packing):
        torch.cuda._sleep(50_000_000)  # about 30 ms: long after the call below is queued
        weights = PackedWeights(model.encoder, model.layers, buffer)
    with torch.cuda.stream(running):
        got = model.run(inputs, weights=weights)
    torch.cuda.synchronize()
    assert torch.equal(got, want)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tuned_products_are_right(dtype):
    model = Model(dataclasses.replace(SMALL, dtype=dtype))
    for tokens in (1, 77, 500, 1300):
        model.encoder.tune(model.weights, tokens)
        for length in (tokens, tokens - tokens // 50):  # the tuned size, and another of its bucket
            inputs = model.inputs(1, length)
            want = reference(model.config, model.layers, inputs, torch.ones(1, length))
            assert relative_error(model.run(inputs), want) < limits(model.config)[0]
    with pytest.raises(FastBertError, match="num_tokens = 0"):
        model.encoder.tune(model.weights, 0)


def test_threads_and_streams():
    """One encoder and one set of weights, used by 8 threads on streams of their own, give what one thread gives."""
    model = Model(SMALL)
    jobs = []
    for i in range(8):
        inputs = model.inputs(5, 20 + 13 * i)
        lengths = [(11 * i + 7 * b) % (21 + 13 * i) for b in range(5)]
        jobs.append((inputs, lengths, model.run(inputs, lengths)))
    torch.cuda.synchronize()
    fresh = Model(SMALL)  # its first calls, with algorithms still to be looked up, come from all threads at once
    failures = []

    def work(inputs, lengths, want):
        try:
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for _ in range(20):
                    got = fresh.run(inputs, lengths)
                    stream.synchronize()
                    assert torch.equal(got, want)
        except BaseException as e:  # noqa: BLE001 - reported by the main thread
            failures.append(e)

    threads = [threading.Thread(target=work, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


def test_capture_in_a_graph():
    model = Model(SMALL)
    inputs, lengths = model.inputs(4, 60), [60, 10, 0, 31]
    want = model.run(inputs, lengths)
    size = model.encoder.workspace_bytes(4, 60, sum(lengths))
    workspace = torch.empty(size, dtype=torch.uint8, device="cuda")
    output = torch.full_like(inputs, float("nan"))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model.encoder.forward(model.weights, inputs, output, workspace, lengths=lengths)
    for _ in range(3):
        output.fill_(float("nan"))
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(output, want)


@pytest.mark.parametrize(
    "change, status, culprit",
    [
        (dict(size_per_head=31), "INVALID_ARGUMENT", "size_per_head = 31 must be even"),
        (dict(size_per_head=130), "UNIMPLEMENTED", "size_per_head = 130"),
        (dict(size_per_head=0), "INVALID_ARGUMENT", "size_per_head = 0"),
        (dict(num_heads=0), "INVALID_ARGUMENT", "num_heads = 0"),
        (dict(num_layers=-1), "INVALID_ARGUMENT", "num_layers = -1"),
        (dict(inner_size=0), "INVALID_ARGUMENT", "inner_size = 0"),
        (dict(num_heads=300), "UNIMPLEMENTED", "9600"),
        (dict(epsilon=-1.0), "INVALID_ARGUMENT", "epsilon"),
        (dict(epsilon=float("nan")), "INVALID_ARGUMENT", "epsilon"),
    ],
)
def test_bad_configuration(change, status: str, culprit: str):
    with pytest.raises(FastBertError, match=culprit) as error:
        CudaEncoder(dataclasses.replace(SMALL, **change))
    assert error.value.status == status


def test_bad_calls_name_the_culprit_and_leave_no_error_behind():
    model = Model(SMALL)
    inputs = model.inputs(2, 8)
    with pytest.raises(FastBertError, match=r"sequence_length\[1\] = 9 is outside 0..seq_len = 8"):
        model.run(inputs, lengths=[3, 9])
    with pytest.raises(FastBertError, match=r"sequence_length\[0\] = -1"):
        model.run(inputs, lengths=[-1, 2])
    with pytest.raises(FastBertError, match="workspace has 256 bytes"):
        model.encoder.forward(model.weights, inputs, torch.empty_like(inputs), torch.empty(256, dtype=torch.uint8, device="cuda"))
    with pytest.raises(FastBertError, match="input is not 16-byte aligned"):
        model.run(torch.empty(1 + 2 * 8 * 128, dtype=torch.float16, device="cuda")[1:].view(2, 8, 128))
    with pytest.raises(FastBertError, match="another encoder"):
        model.run(inputs, weights=Model(SMALL).weights)
    broken = [dict(layer) for layer in model.layers]
    broken[1]["output_bias"] = torch.empty(0)
    with pytest.raises(FastBertError, match="layer 1: output_bias is null"):
        PackedWeights(model.encoder, broken)
    want = reference(model.config, model.layers, inputs, torch.ones(2, 8))
    assert relative_error(model.run(inputs), want) < 1e-2
