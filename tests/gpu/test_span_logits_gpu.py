"""fastbert_cuda_span_logits through its C ABI: against float64 PyTorch, with outputs poisoned and guards behind them. No TensorFlow."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the C ABI's tests compute their reference with PyTorch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from benchmarks import cuda_encoder  # noqa: E402
from benchmarks.cuda_encoder import FastBertError  # noqa: E402
from benchmarks.cuda_span_logits import span_logits  # noqa: E402
from tests.gpu.padded_batches import make_padding  # noqa: E402

if not cuda_encoder.library_path().exists():
    pytest.skip(f"{cuda_encoder.library_path()} is not built", allow_module_level=True)

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
PADDING = -7.5


def check(
    batch: int, seq_len: int, hidden: int, dtype: torch.dtype, weights_dtype: torch.dtype, kind: str, shift: int = 0
) -> None:
    """One call. kind: "none", "lengths" or "holes"; shift: elements by which the pointers are off their alignment."""
    generator = torch.Generator(device="cuda").manual_seed(batch * seq_len + hidden)

    def normal(dtype: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.randn(torch.Size(shape).numel() + shift, generator=generator, device="cuda").to(dtype)[shift:].view(shape)

    x, weights, bias = normal(dtype, batch, seq_len, hidden), normal(weights_dtype, 2, hidden), normal(weights_dtype, 2)
    arguments, valid = make_padding(batch, seq_len, kind)
    valid = valid.cuda()
    size = batch * seq_len
    memory = torch.full((2, size + 64), float("nan"), device="cuda")
    outputs = [row[:size].view(batch, seq_len) for row in memory]
    x[~valid] = float("nan")
    span_logits(x, weights, bias, *outputs, padding=PADDING, **arguments)
    assert torch.all(torch.isnan(memory[:, size:])), "written out of bounds"
    exact = x.double().nan_to_num() @ weights.double().T + bias.double()
    limit = 2e-6 * (1 + x.double().nan_to_num().abs() @ weights.double().abs().T)
    for i, output in enumerate(outputs):
        assert torch.all(output[~valid] == PADDING)
        assert torch.all((output.double() - exact[..., i]).abs()[valid] <= limit[..., i][valid])


@pytest.mark.parametrize("weights_dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["none", "lengths", "holes"])
@pytest.mark.parametrize("hidden", [1, 31, 64, 66, 384, 768, 1024, 1100])
def test_widths(hidden: int, kind: str, dtype: torch.dtype, weights_dtype: torch.dtype) -> None:
    check(3, 37, hidden, dtype, weights_dtype, kind)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pointers_without_alignment(dtype: torch.dtype) -> None:
    check(2, 19, 768, dtype, torch.float32, "holes", shift=1)


@pytest.mark.parametrize("kind", ["none", "lengths", "holes"])
def test_more_rows_than_a_launch_takes(kind: str) -> None:
    """30,720 rows; these on both sides of it."""
    for batch, seq_len in ((80, 384), (31, 991), (2, 31000)):
        check(batch, seq_len, 64, torch.float16, torch.float16, kind)


@pytest.mark.parametrize(("batch", "seq_len"), [(1, 1), (1024, 1), (0, 4), (4, 0)])
def test_sizes(batch: int, seq_len: int) -> None:
    check(batch, seq_len, 768, torch.float16, torch.float32, "lengths")


def test_what_is_refused() -> None:
    empty = torch.zeros(1, 2, 0, device="cuda")
    with pytest.raises(FastBertError, match="hidden_size = 0"):
        span_logits(empty, empty, empty, empty, empty, padding=0.0)
