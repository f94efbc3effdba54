"""examples/bert_example.py: arguments, the cross check, quantized kernels. The guide's command lines: test_fastertransformer_guide.py."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tests.wrap.tiny_model import REPO

SMALL = "--batch_size 3 --max_seq_len 9 --head_number 2 --size_per_head 16 --num_layer 2 --iterations 2".split()


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bert_example", REPO / "examples" / "bert_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("more", [
    "--data_type fp32 --test_time 1", "--data_type fp16", "--data_type bf16", "--data_type fp16 --int8_mode 1",
    "--data_type fp16 --int8_mode 2", "--int8_mode 3 -avg_seq 3 -inter_size 40", "--allow_gemm_test True",
])  # fmt: skip
def test_the_cross_check_passes(program: ModuleType, capsys: pytest.CaptureFixture, more: str) -> None:
    assert program.run(program.parse_arguments([*SMALL, *more.split()]))
    output = capsys.readouterr().out
    assert output.count("Cross check True") == 2 and "False" not in output
    assert output.count("-time ") == (3 if "test_time 1" in more else 0)


def test_the_cross_check_can_fail(program: ModuleType, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(program.LIMITS, "bf16", 1e-7)
    assert not program.run(program.parse_arguments([*SMALL, "--data_type", "bf16"]))
    assert "Cross check False" in capsys.readouterr().out


@pytest.mark.parametrize("arguments, message", [
    (["--batch_size", "0"], "--batch_size is 0, expected 1 or more"),
    (["--avg_seq_len", "99"], "--avg_seq_len between 0 and --max_seq_len"),
    (["--data_type", "fp8"], "invalid choice: 'fp8'"),
    (["--allow_gemm_test", "maybe"], "'maybe' is not true or false"),
])  # fmt: skip
def test_bad_arguments(program: ModuleType, capsys: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit):
        program.parse_arguments(arguments)
    assert message in capsys.readouterr().err


def test_lengths_are_around_the_average(program: ModuleType) -> None:
    for line in ("--batch_size 50 --max_seq_len 32", "--batch_size 50 --max_seq_len 32 --avg_seq_len 30", "--max_seq_len 1"):
        args = program.parse_arguments(line.split())
        lengths = program.sequence_lengths(args)
        assert lengths.shape == (args.batch_size,) and lengths.min() >= 1 and lengths.max() <= args.max_seq_len
        assert abs(lengths.mean() - (args.avg_seq_len or (args.max_seq_len + 1) // 2)) < 4
