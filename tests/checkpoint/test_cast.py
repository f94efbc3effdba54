"""Casting checkpoints to 16 bits."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

from tf_fastbert.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from tf_fastbert.checkpoint.cast import cast_checkpoint, optimizer_slots

KERNEL = "bert/encoder/layer_0/output/dense/kernel"
TENSORS = {
    KERNEL: np.linspace(-2, 2, 6, dtype=np.float32).reshape(2, 3),
    KERNEL + "/adam_m": np.full((2, 3), 1e-9, np.float32),
    KERNEL + "/adam_v": np.full((2, 3), 1e-12, np.float32),
    "bert/encoder/layer_0/output/dense/input_quantizer/quant_max": np.array(3.14159, np.float32),
    "bert/encoder/layer_0/amaxList": np.array([1e5, 0.1], np.float32),
    "beta1_power": np.array(0.9, np.float32),
    "double": np.array([0.1], np.float64),
    "global_step": np.array(12345, np.int64),
    "text": np.array([b"abc"], object),
}


@pytest.fixture
def source(tmp_path):
    prefix = str(tmp_path / "in" / "model.ckpt-5")
    write_checkpoint(prefix, TENSORS)
    return prefix


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_casts_floats_and_only_those(source, tmp_path, dtype):
    destination = str(tmp_path / "out" / "model.ckpt")
    report = cast_checkpoint(source, destination, dtype)
    result = Checkpoint(destination)
    target = tf.as_dtype(dtype)
    assert report.cast == [KERNEL, "double"]
    assert report.dropped == [KERNEL + "/adam_m", KERNEL + "/adam_v", "beta1_power"]
    assert sorted(report.cast + report.kept) == list(result.variables)
    for name in report.cast:
        assert result.variables[name].dtype == target
        np.testing.assert_array_equal(result.read(name), TENSORS[name].astype(target.as_numpy_dtype))
    for name in report.kept:
        assert result.read(name).dtype == TENSORS[name].dtype
        np.testing.assert_array_equal(result.read(name), TENSORS[name])
    assert result.variables["global_step"].dtype == tf.int64


def test_slots_are_kept_exactly_when_asked_for(source, tmp_path):
    destination = str(tmp_path / "out")
    report = cast_checkpoint(source, destination, keep_optimizer_slots=True)
    assert report.dropped == []
    result = Checkpoint(destination).read(KERNEL + "/adam_v")
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, TENSORS[KERNEL + "/adam_v"])


def test_what_counts_as_a_slot():
    names = ["w", "w/adam_m", "w/Adam", "w/Adam_1", "w/Momentum", "beta2_power", "scope/beta1_power", "x/adam_m", "Adam"]
    # x/adam_m has no variable x beside it: it is a variable of its own.
    assert optimizer_slots(names) == {"w/adam_m", "w/Adam", "w/Adam_1", "w/Momentum", "beta2_power", "scope/beta1_power"}


def test_overflow_is_named_and_nothing_written(tmp_path):
    source = str(tmp_path / "in")
    write_checkpoint(source, {"fine": np.ones(2, np.float32), "huge": np.array([1.0, -70000.0, 65504.0], np.float32)})
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError, match=r"variable huge does not fit float16: 1 of 3 values .* 70000 .*bfloat16 would"):
        cast_checkpoint(source, str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == before
    cast_checkpoint(source, str(tmp_path / "out"), "bfloat16")


def test_infinity_in_the_input_is_not_an_overflow(tmp_path):
    source, destination = str(tmp_path / "in"), str(tmp_path / "out")
    write_checkpoint(source, {"mask": np.array([-np.inf, 0], np.float32)})
    cast_checkpoint(source, destination)
    assert np.isneginf(Checkpoint(destination).read("mask")[0])


def test_refuses_its_own_input(source, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for destination in (source, str(tmp_path / "link" / "model.ckpt-5"), str(tmp_path / "in" / ".." / "in" / "model.ckpt-5")):
        with pytest.raises(CheckpointError, match="is the input checkpoint itself"):
            cast_checkpoint(source, destination)
    np.testing.assert_array_equal(Checkpoint(source).read(KERNEL), TENSORS[KERNEL])


def test_directory_as_input(source, tmp_path):
    assert cast_checkpoint(os.path.dirname(source), str(tmp_path / "out")).cast == [KERNEL, "double"]


def test_unknown_type(source, tmp_path):
    with pytest.raises(CheckpointError, match="int8.*float16, bfloat16"):
        cast_checkpoint(source, str(tmp_path / "out"), "int8")
