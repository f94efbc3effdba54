"""fastbert_cuda_embed through its C ABI: against float64 PyTorch, with outputs poisoned and guards behind them. No TensorFlow."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the C ABI's tests compute their reference with PyTorch")
if not torch.cuda.is_available():
    pytest.skip("needs a GPU", allow_module_level=True)

from benchmarks import cuda_encoder  # noqa: E402
from benchmarks.cuda_embedding import embed  # noqa: E402
from benchmarks.cuda_encoder import FastBertError  # noqa: E402
from tests.gpu.padded_batches import make_padding  # noqa: E402

if not cuda_encoder.library_path().exists():
    pytest.skip(f"{cuda_encoder.library_path()} is not built", allow_module_level=True)

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
LIMITS = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3.2e-2}  # absolute, outputs of unit scale
VOCABULARY = 1000


def check(batch: int, seq_len: int, hidden: int, dtype: torch.dtype, padding: str, shift: int = 0, bad_ids: bool = False) -> None:
    """One call. padding: "none", "lengths" or "holes"; shift: elements by which every pointer is off its alignment."""
    generator = torch.Generator(device="cuda").manual_seed(batch * seq_len + hidden)

    def normal(*shape: int) -> torch.Tensor:
        flat = torch.randn(torch.Size(shape).numel() + shift, generator=generator, device="cuda").to(dtype)
        return (0.5 * flat)[shift:].view(shape)

    def ids(rows: int) -> torch.Tensor:
        low, high = (-5, rows + 5) if bad_ids else (0, rows)
        return torch.randint(low, high, (batch, seq_len), generator=torch.Generator().manual_seed(rows), dtype=torch.int32)

    weights = [normal(VOCABULARY, hidden), normal(seq_len + 2, hidden), normal(2, hidden), normal(hidden), normal(hidden)]
    input_ids, token_type_ids = ids(VOCABULARY), ids(2)
    arguments, valid = make_padding(batch, seq_len, padding)
    size = batch * seq_len * hidden
    memory = torch.full((shift + size + 64,), float("nan"), device="cuda", dtype=dtype)
    output = memory[shift : shift + size].view(batch, seq_len, hidden)
    given = [input_ids.clone(), token_type_ids.clone()]
    embed(*given, *weights, output, **arguments)
    for host in given:  # it was to be read by now
        host.fill_(VOCABULARY)

    def look_up(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        inside = (rows >= 0) & (rows < len(table))
        return table.double()[torch.where(inside, rows, 0).long()] * inside[..., None]

    word, position, token_type, gamma, beta = weights
    x = look_up(word, input_ids.cuda()) + look_up(token_type, token_type_ids.cuda()) + position[:seq_len].double()
    want = torch.nn.functional.layer_norm(x, (hidden,), gamma.double(), beta.double(), 1e-12)
    want *= valid.cuda()[..., None]
    assert torch.all(torch.isnan(memory[:shift])) and torch.all(torch.isnan(memory[shift + size :])), "written out of bounds"
    assert not output[~valid.cuda()].any(), "rows of padding must be zero"
    error = (output.double() - want).abs().max().item() if size else 0.0
    assert error <= LIMITS[dtype], f"error {error:.3g}"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("padding", ["none", "lengths", "holes"])
@pytest.mark.parametrize("hidden", [64, 384, 768, 1024, 1536, 2048, 4096, 8192])
def test_widths(hidden: int, padding: str, dtype: torch.dtype) -> None:
    check(3, 37, hidden, dtype, padding)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("hidden", [2, 31, 66, 700, 1030, 4100])
def test_widths_without_vectors(hidden: int, dtype: torch.dtype) -> None:
    check(2, 19, hidden, dtype, "lengths")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_pointers_without_alignment(dtype: torch.dtype) -> None:
    check(2, 19, 768, dtype, "holes", shift=1)


@pytest.mark.parametrize("padding", ["none", "lengths", "holes"])
def test_more_rows_than_a_launch_takes(padding: str) -> None:
    """960 rows with parameters of 4 KB, 8,000 with 32 KB; these on both sides of both."""
    for batch, seq_len in ((20, 48), (31, 31), (20, 400), (3, 2667), (200, 384)):
        check(batch, seq_len, 64, torch.float16, padding)


@pytest.mark.parametrize(("batch", "seq_len"), [(1, 1), (1024, 1), (0, 4), (4, 0)])
def test_sizes(batch: int, seq_len: int) -> None:
    check(batch, seq_len, 768, torch.float16, "lengths")


def test_ids_outside_of_their_tables() -> None:
    check(8, 128, 768, torch.float16, "none", bad_ids=True)


def test_what_is_refused() -> None:
    ids = torch.zeros(1, 2, dtype=torch.int32)
    table, vector = torch.zeros(4, 8200, device="cuda"), torch.zeros(8200, device="cuda")
    with pytest.raises(FastBertError, match="hidden_size = 8200"):
        embed(ids, ids, table, table, table, vector, vector, torch.zeros(1, 2, 8200, device="cuda"))
    table, vector, output = torch.zeros(65536, 8, device="cuda"), torch.zeros(8, device="cuda"), torch.zeros(1, 2, 8, device="cuda")
    with pytest.raises(FastBertError, match="65536 words and 65536 token types"):
        embed(ids, ids, table, table, table, vector, vector, output)
