"""The wrappers' command line: no TensorFlow is needed for any of it."""

from __future__ import annotations

import pytest
from absl import flags

from tf_fastbert.wrap import flags as our_flags
from tf_fastbert.wrap.errors import WrapError


@pytest.fixture
def values() -> flags.FlagValues:
    values = flags.FlagValues()
    our_flags.define(values)
    return values


def test_defaults(values: flags.FlagValues) -> None:
    our_flags.parse(["program"], values)
    assert (values.floatx, values.remove_padding, values.int8_mode, values.allow_gemm_test) == ("float32", False, 0, False)
    assert (values.precision, values.compare_stock, values.bert_dir, values.progress) == ("default", False, None, True)
    our_flags.check(values)


@pytest.mark.parametrize(
    "words", [["--remove_padding"], ["--remove_padding=true"], ["--remove_padding", "True"], ["-remove_padding=1"]]
)
def test_booleans_as_the_ancestors_guide_writes_them(values: flags.FlagValues, words: list[str]) -> None:
    our_flags.parse(["program", *words, "--floatx", "float16", "--noprogress"], values)
    assert values.remove_padding is True
    assert values.floatx == "float16"
    assert values.progress is False


def test_false_after_a_space(values: flags.FlagValues) -> None:
    our_flags.parse(["program", "--allow_gemm_test", "False", "--progress", "0"], values)
    assert values.allow_gemm_test is False
    assert values.progress is False


@pytest.mark.parametrize(
    "words, culprit",
    [
        (["--remove_paddin=true"], "remove_paddin"),
        (["--floatx=float8"], "floatx=float8"),
        (["--int8_mode=one"], "int8_mode"),
        (["--remove_padding", "maybe", "--progress"], "'maybe'"),
    ],
)
def test_mistakes_are_named(values: flags.FlagValues, words: list[str], culprit: str) -> None:
    with pytest.raises(WrapError, match=culprit) as error:
        our_flags.parse(["program", *words], values)
    assert error.value.status == 2
    assert "\n" not in str(error.value)


def test_the_first_reading_leaves_googles_flags_alone(values: flags.FlagValues) -> None:
    # --vocab_file and its value stand in front: the flags behind them must still be seen.
    our_flags.parse(["program", "--vocab_file", "vocab.txt", "--do_predict", "--floatx=bfloat16"], values, known_only=True)
    assert values.floatx == "bfloat16"


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--int8_mode=4"], "--int8_mode=4: it must be 0, 1, 2 or 3"),
        (["--int8_mode=1", "--precision=fp8"], "two ways to quantize"),
        (["--quant_mode=ft1", "--int8_mode=1"], "--quant_mode=ft1 is for float checkpoints"),
        (["--quant_mode=ft2", "--floatx=float16"], "runs in float32"),
        (["--distillation", "--teacher=x"], "--distillation needs --quant_mode and --teacher"),
        (["--distillation", "--quant_mode=ft1"], "--distillation needs --quant_mode and --teacher"),
    ],
)
def test_quantization_flags_that_contradict(values: flags.FlagValues, words: list[str], culprit: str) -> None:
    our_flags.parse(["program", *words], values)
    with pytest.raises(WrapError, match=culprit) as error:
        our_flags.check(values)
    assert error.value.status == 2
