"""The checkpoint writer and reader: round trip, atomicity, errors."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tf_fastbert.checkpoint import Checkpoint, CheckpointError, find_checkpoint, write_checkpoint

TENSORS = {
    "bert/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "half": np.array([1.5, -2.0], np.float16),
    "global_step": np.array(7, np.int64),
    "note": np.array([b"one", b"two"], object),
}


def test_round_trip_in_a_new_directory(tmp_path):
    prefix = str(tmp_path / "new" / "model.ckpt")
    write_checkpoint(prefix, TENSORS)
    checkpoint = Checkpoint(prefix)
    assert list(checkpoint.variables) == sorted(TENSORS)
    for name, values in TENSORS.items():
        np.testing.assert_array_equal(checkpoint.read(name), values)
        assert checkpoint.variables[name].shape == values.shape
    assert checkpoint.read("global_step").dtype == np.int64
    assert sorted(os.listdir(tmp_path / "new")) == ["model.ckpt.data-00000-of-00001", "model.ckpt.index"]


def test_works_in_tf1_mode(tmp_path):
    import tensorflow as tf

    with tf.Graph().as_default():
        write_checkpoint(str(tmp_path / "m"), {"a": np.ones(3, np.float32)})
    np.testing.assert_array_equal(Checkpoint(str(tmp_path / "m")).read("a"), np.ones(3))


def test_replaces_an_older_checkpoint(tmp_path):
    prefix = str(tmp_path / "m")
    write_checkpoint(prefix, {"a": np.zeros(1000, np.float32)})
    write_checkpoint(prefix, {"b": np.ones(2, np.float32)})
    assert list(Checkpoint(prefix).variables) == ["b"]


def test_nothing_is_left_behind_when_writing_fails(tmp_path, monkeypatch):
    prefix = str(tmp_path / "m")
    with pytest.raises(ValueError):  # An array of no type that TensorFlow knows.
        write_checkpoint(prefix, {"a": np.ones(3, np.float32), "b": np.zeros(2, dtype="datetime64[s]")})
    assert os.listdir(tmp_path) == []

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        write_checkpoint(prefix, TENSORS)
    assert os.listdir(tmp_path) == []


def test_index_appears_last(tmp_path, monkeypatch):
    moved = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moved.append(os.path.basename(b)), replace(a, b)))
    write_checkpoint(str(tmp_path / "m"), TENSORS)
    assert moved == ["m.data-00000-of-00001", "m.index"]


def test_directory_or_unwritable_place_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is a directory"):
        write_checkpoint(str(tmp_path), TENSORS)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write checkpoint .*file/m"):
        write_checkpoint(str(tmp_path / "file" / "m"), TENSORS)


def test_find_in_directory(tmp_path):
    with pytest.raises(CheckpointError, match="holds no .index file"):
        find_checkpoint(str(tmp_path))
    write_checkpoint(str(tmp_path / "one"), TENSORS)
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "one")
    assert find_checkpoint(str(tmp_path / "one.index")) == str(tmp_path / "one")
    assert find_checkpoint(str(tmp_path / "one.data-00000-of-00001")) == str(tmp_path / "one")
    write_checkpoint(str(tmp_path / "two"), TENSORS)
    with pytest.raises(CheckpointError, match="several checkpoints.*one, two"):
        find_checkpoint(str(tmp_path))
    write_checkpoint(str(tmp_path / "bert_model.ckpt"), TENSORS)
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "bert_model.ckpt")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "two"\n')
    assert find_checkpoint(str(tmp_path)) == str(tmp_path / "two")


def test_missing_checkpoint_names_what_is_there(tmp_path):
    write_checkpoint(str(tmp_path / "model.ckpt-100"), TENSORS)
    with pytest.raises(CheckpointError, match=r"model.ckpt.index does not exist \(checkpoints in .*: model.ckpt-100\)"):
        Checkpoint(str(tmp_path / "model.ckpt"))
    with pytest.raises(CheckpointError, match="the directory .*nowhere does not exist"):
        Checkpoint(str(tmp_path / "nowhere" / "model.ckpt"))
    with pytest.raises(CheckpointError, match="has no variable absent"):
        Checkpoint(str(tmp_path / "model.ckpt-100")).read("absent")


def _damage(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        path.write_bytes(bytes([content[0] ^ 0xFF]) + content[1:])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped", "absent"])
@pytest.mark.parametrize("suffix", [".data-00000-of-00001", ".index"])
def test_damaged_checkpoint_is_named(tmp_path, suffix, how):
    prefix = str(tmp_path / "m")
    write_checkpoint(prefix, {"a": np.arange(100, dtype=np.float32), "b": np.ones(50, np.float32)})
    _damage(tmp_path / ("m" + suffix), how)
    with pytest.raises(CheckpointError, match="checkpoint .*/m") as caught:
        checkpoint = Checkpoint(prefix)
        for name in checkpoint.variables:
            checkpoint.read(name)
    assert "\n" not in str(caught.value)
