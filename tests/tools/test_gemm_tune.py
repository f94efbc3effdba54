"""tools/gemm_tune.py with a stand-in for the GPU: which token counts it tunes, what it writes, what it refuses."""

from __future__ import annotations

import json
import re

import pytest

from tests.cuda.fake import ROOT, FakeCuda
from tf_fastbert.cuda import tuning

TOOL = ROOT / "tools" / "gemm_tune.py"


def test_ranges_of_token_counts() -> None:
    ends = tuning.bucket_ends(300)
    assert ends == [16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    assert tuning.bucket_ends(1) == [16] and tuning.bucket_ends(16) == [16] and tuning.bucket_ends(17) == [16, 32]


def tuned(stderr: str) -> list[int]:
    return [int(tokens) for tokens in re.findall(r"tune (\d+)", stderr)]


def test_the_table_goes_where_the_op_looks(fake_cuda: FakeCuda, tmp_path) -> None:
    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96, "hidden_act": "relu"}
    (tmp_path / "bert_config.json").write_text(json.dumps(config))
    arguments = (f"--bert_config_file={tmp_path}/bert_config.json", "--floatx=bfloat16", "--max_tokens=100")
    result = fake_cuda.run(TOOL, *arguments, XDG_CACHE_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr
    path = tmp_path / "tf_fastbert" / "gemm_tables" / "Fake_GPU_h64_i96_relu_bfloat16.txt"
    assert f"wrote {path}: 7 entries" in result.stdout
    assert [line for line in path.read_text().splitlines() if "gemm 96" in line] == [
        f"gemm 96 {n}" for n in (16, 32, 48, 64, 80, 96, 112)
    ]
    assert sorted(path.parent.iterdir()) == [path]


def test_numbers_of_bert_gemm(fake_cuda: FakeCuda, tmp_path) -> None:
    result = fake_cuda.run(TOOL, 2, 20, 2, 8, 1, 1, f"--output={tmp_path}/table.txt")
    assert result.returncode == 0, result.stderr
    assert "8-bit products are kernels of our own" in result.stdout
    assert tuned(result.stderr) == [16, 32, 48]
    assert "gemm 64 48" in (tmp_path / "table.txt").read_text()  # the inner size is 4 x 2 x 8
    assert f"export TF_FASTBERT_GEMM_TABLES={tmp_path}/table.txt" in result.stdout


def test_check(fake_cuda: FakeCuda, tmp_path) -> None:
    here, elsewhere, damaged = (tmp_path / name for name in ("here.txt", "elsewhere.txt", "damaged.txt"))
    table = "tf_fastbert gemm table 1\ngpu {}\ncublaslt 120900\ngemm 1 2\ngemm 3 4\n"
    here.write_text(table.format("Fake GPU"))
    elsewhere.write_text(table.format("Another GPU"))
    damaged.write_text("gemm")
    result = fake_cuda.run(TOOL, f"--check={here}")
    assert result.returncode == 0 and "2 of 2 entries are used for this model here" in result.stdout
    result = fake_cuda.run(TOOL, f"--check={elsewhere}")
    assert result.returncode == 1 and "0 of 2 entries" in result.stdout
    assert "measured on Another GPU with cuBLASLt 120900; this is Fake GPU" in result.stdout
    result = fake_cuda.run(TOOL, f"--check={damaged}")
    assert (result.returncode, result.stderr) == (1, "error: INVALID_ARGUMENT: line 1 is wrong\n")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((1, 2, 3), "expected no number or six (batch seq_len head_number size_per_head data_type int8_mode), got 3"),
        ((8, 128, 12, 64, 1, 4), "int8_mode is 4, expected 0, 1, 2 or 3"),
        ((8, 128, 12, 64, 3, 0), "data_type is 3, expected 0 (float32), 1 (float16) or 2 (bfloat16)"),
        ((8, 0, 12, 64, 1, 0), "seq_len is 0, expected 1 or more"),
        (("--max_tokens=0",), "--max_tokens is 0, expected 1 or more"),
    ],
)
def test_refused(fake_cuda: FakeCuda, arguments, message) -> None:
    result = fake_cuda.run(TOOL, *arguments)
    assert result.returncode == 2 and message in result.stderr


def test_no_such_file(fake_cuda: FakeCuda) -> None:
    result = fake_cuda.run(TOOL, "--bert_config_file=/no/such.json")
    assert result.returncode == 1 and "error: /no/such.json: No such file or directory" in result.stderr
