"""Checkpoints with quantizers to int8: what is written, and every refusal in words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tests.quantization.tiny_quantized import HIDDEN, INNER, LAYERS, tensors, write_ranges
from tests.wrap import tiny_model
from tf_fastbert.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from tf_fastbert.checkpoint.cast import cast_checkpoint
from tf_fastbert.quantization import amax_list, convert, detect, names
from tf_fastbert.quantization.convert import quantize_checkpoint, quantize_kernel

QUERY = "bert/encoder/layer_0/attention/self/query/kernel"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, and with ranges by channel (ours) and by kernel (the ancestor's ft2)."""
    folder = tmp_path_factory.mktemp("convert")
    tiny_model.write_model(folder)
    write_ranges(folder, "channel.ckpt")
    write_ranges(folder, "tensor.ckpt", per_channel=False)
    return folder


def test_rounding() -> None:
    kernel = np.array([[0.5, -0.5, 1.49, 200.0, -200.0, 2.5]], np.float32).T
    np.testing.assert_array_equal(quantize_kernel(kernel, np.float32(127)).ravel(), [1, -1, 1, 127, -127, 3])
    by_channel = quantize_kernel(np.array([[1.0, 1.0]], np.float32), np.array([1.0, 2.0], np.float32))
    np.testing.assert_array_equal(by_channel, [[127, 64]])
    assert by_channel.dtype == np.int8


@pytest.mark.parametrize(("int8_mode", "per"), [(1, "channel"), (2, "channel"), (3, "channel"), (2, "tensor"), (3, "tensor")])
def test_int8_checkpoint(folder: Path, tmp_path: Path, int8_mode: int, per: str) -> None:
    source = str(folder / f"{per}.ckpt")
    result = str(tmp_path / "new" / "model.ckpt")
    report = quantize_checkpoint(source, result, int8_mode)
    before, after = tensors(source), tensors(result)
    assert detect.kind_of(Checkpoint(result)) is detect.Kind.INT8
    assert not any(map(names.is_range, after)) and all(map(names.is_range, before.keys() - after.keys()))
    assert report.layers == LAYERS and report.clipped[0] < 0.01
    for layer in range(LAYERS):
        ranges = amax_list.parse(after.pop(names.amax_list_name(layer)), HIDDEN, INNER)
        assert ranges.per_channel == (per == "channel")
        assert ranges.activations["context"] == before[names.range_names(layer, "context")[0]]
        following = before[names.range_names(layer + 1, "attention_input")[0]] if layer + 1 < LAYERS else 1.0
        assert ranges.next_input == following
        for field, amax in ranges.kernels.items():
            name = detect.kernel_name(layer, field)
            kernel = after.pop(name)
            assert kernel.dtype == np.int8 and kernel.shape == before[name].shape
            np.testing.assert_allclose(kernel * (amax / 127), before[name], atol=float(amax.max()) / 127 * 0.501)
    for name, value in after.items():  # all the rest is as it was
        assert value.dtype == before[name].dtype
        np.testing.assert_array_equal(value, before[name])


def test_float16_and_optimizer_slots(folder: Path, tmp_path: Path) -> None:
    source, result = str(tmp_path / "trained.ckpt"), str(tmp_path / "int8.ckpt")
    cast_checkpoint(str(folder / "tensor.ckpt"), str(tmp_path / "float16.ckpt"))
    write_checkpoint(
        source, {**tensors(str(tmp_path / "float16.ckpt")), f"{QUERY}/adam_m": np.ones((HIDDEN, HIDDEN), np.float32)}
    )
    report = quantize_checkpoint(source, result, 2)
    after = tensors(result)
    assert f"{QUERY}/adam_m" in report.dropped and f"{QUERY}/adam_m" not in after
    assert after[QUERY].dtype == np.int8
    assert after[QUERY.replace("kernel", "bias")].dtype == np.float16
    assert after[names.amax_list_name(0)].dtype == np.float32


def test_fp8_keeps_the_kernels(folder: Path, tmp_path: Path) -> None:
    result = str(tmp_path / "fp8.ckpt")
    quantize_checkpoint(str(folder / "channel.ckpt"), result, "fp8")
    after = tensors(result)
    np.testing.assert_array_equal(after[QUERY], tiny_model.variables()[QUERY])
    assert not amax_list.parse(after[names.amax_list_name(1)], HIDDEN, INNER).per_channel
    assert detect.kind_of(Checkpoint(result)) is detect.Kind.FP8


def changed(source: str, tmp_path: Path, changes: dict[str, object]) -> str:
    """The checkpoint with some variables replaced, or removed (None)."""
    values = {**tensors(source), **changes}
    prefix = str(tmp_path / "changed.ckpt")
    write_checkpoint(prefix, {name: value for name, value in values.items() if value is not None})
    return prefix


CONTEXT = names.range_names(1, "context")[0]
OUTPUT_KERNEL = names.range_names(1, "output_kernel")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({CONTEXT: None}, f"{CONTEXT} is missing: calibrate it again"),
        ({CONTEXT: np.float32(np.nan)}, "the range of .*layer_1/attention/output/dense/input_quantizer is nan"),
        ({CONTEXT: np.float32(0), CONTEXT.replace("max", "min"): np.float32(0)}, "input_quantizer is 0: it must be a positive"),
        ({OUTPUT_KERNEL[0]: np.full(HIDDEN, np.inf, np.float32)}, "layer_1/output/dense/kernel_quantizer is inf"),
        ({OUTPUT_KERNEL[0]: np.ones(7, np.float32)}, r"has shape \[7\], expected \[\] or \[32\]"),
        ({QUERY: None}, f"no variable {QUERY}"),
        ({QUERY: np.full((HIDDEN, HIDDEN), np.nan, np.float32)}, f"{QUERY} has values that are not finite"),
    ],
)
def test_bad_input_is_named_and_nothing_written(
    folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    source = changed(str(folder / "channel.ckpt"), tmp_path, changes)
    with pytest.raises(CheckpointError, match=message):
        quantize_checkpoint(source, str(tmp_path / "out.ckpt"), 1)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("out")]


def test_wrong_kinds(folder: Path, tmp_path: Path) -> None:
    out, int8 = str(tmp_path / "out.ckpt"), str(tmp_path / "int8.ckpt")
    for source, mode, message in (
        ("bert_model.ckpt", 1, "has no quantizers .*: run tools/ckpt_calibrate.py"),
        ("tensor.ckpt", 1, "one range for each kernel .*use --int8_mode=2 or 3, or calibrate it with --quant_mode=ft1"),
        ("channel.ckpt", 4, "mode is 4; it must be 1, 2, 3 or 'fp8'"),
        ("none.ckpt", 1, "no checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=message):
            quantize_checkpoint(str(folder / source), out, mode)
    with pytest.raises(CheckpointError, match="is the input checkpoint itself"):
        quantize_checkpoint(str(folder / "channel.ckpt"), str(folder / "channel.ckpt"), 1)
    quantize_checkpoint(str(folder / "channel.ckpt"), int8, 1)
    with pytest.raises(CheckpointError, match="is quantized already"):
        quantize_checkpoint(int8, out, 1)
    write_checkpoint(str(tmp_path / "other.ckpt"), {"w": np.ones(3, np.float32)})
    with pytest.raises(CheckpointError, match="it is no BERT"):
        quantize_checkpoint(str(tmp_path / "other.ckpt"), out, 1)
    assert not os.path.exists(out + ".index")


def test_the_ancestors_packed_layout(folder: Path, tmp_path: Path) -> None:
    """Int8 bytes inside float32 kernels, beside amaxLists."""
    values = tensors(str(folder / "channel.ckpt"))
    int8 = str(tmp_path / "int8.ckpt")
    quantize_checkpoint(str(folder / "channel.ckpt"), int8, 1)
    rng = np.random.default_rng(0)
    for name, value in tensors(int8).items():
        if value.dtype == np.int8:
            packed = rng.integers(-127, 128, 4 * value.size).astype(np.int8).view(np.float32).reshape(value.shape)
            values[name] = packed
        elif name.endswith("amaxList"):
            values[name] = value
    packed = str(tmp_path / "packed.ckpt")
    write_checkpoint(packed, values)
    assert detect.kind_of(Checkpoint(packed)) is detect.Kind.PACKED
    with pytest.raises(CheckpointError, match="quantized by FasterTransformer: int8 bytes.*Quantize the float checkpoint"):
        convert.quantize_checkpoint(packed, str(tmp_path / "out.ckpt"), 1)
