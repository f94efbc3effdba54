"""Checks of checkpoints: each mistake is found before a graph is built, and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tests.wrap import tiny_model
from tf_fastbert.checkpoint import Checkpoint, write_checkpoint
from tf_fastbert.config import BertConfig
from tf_fastbert.wrap import checkpoints, inputs
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.scripts import RUN_CLASSIFIER, RUN_SQUAD

SIZES = inputs.BertSizes(
    BertConfig.from_dict(tiny_model.CONFIG),
    *(tiny_model.CONFIG[name] for name in ("vocab_size", "max_position_embeddings", "type_vocab_size")),
)
QUERY = "bert/encoder/layer_1/attention/self/query/kernel"


def write(folder: Path, change: dict | None = None, dtype: type = np.float32) -> str:
    """A checkpoint of all variables in `dtype` with some replaced, or left out where `change` says None."""
    tensors = {name: value.astype(dtype) for name, value in tiny_model.variables().items()}
    tensors.update(change or {})
    path = str(folder / "bert_model.ckpt")
    write_checkpoint(path, {name: value for name, value in tensors.items() if value is not None})
    return path


def check(path: str, floatx: str = "float32", script=RUN_SQUAD, restored: bool = False) -> str:
    return checkpoints.check_for_inference(path, "--init_checkpoint", script, SIZES, 2, floatx, restored=restored)


def fails(path: str, culprit: str, **arguments: object) -> None:
    with pytest.raises(WrapError, match=culprit) as error:
        check(path, **arguments)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("--init_checkpoint")


def test_good_ones(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert check(path) == path
    assert check(path + ".index", script=RUN_CLASSIFIER) == path
    assert check(write(tmp_path, dtype=np.float16), "float16")


def test_no_such_checkpoint(tmp_path: Path) -> None:
    path = write(tmp_path)
    fails(str(tmp_path / "model.ckpt"), "model.ckpt.index does not exist .*bert_model.ckpt")
    fails(str(tmp_path / "nowhere" / "model.ckpt"), "nowhere does not exist")
    (tmp_path / "bert_model.ckpt.index").unlink()
    fails(path, "bert_model.ckpt.index does not exist")


def test_damaged_data(tmp_path: Path) -> None:
    path = write(tmp_path)
    data = tmp_path / "bert_model.ckpt.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    fails(path, "truncated, corrupt")
    # One flipped bit, in the last variable of the alphabet: an encoder's or the head's is all the same.
    data.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    fails(path, "corrupt", script=RUN_CLASSIFIER)


def test_damaged_index(tmp_path: Path) -> None:
    path = write(tmp_path)
    (tmp_path / "bert_model.ckpt.index").write_bytes(b"not an index")
    fails(path, "bert_model.ckpt: cannot be opened")


def test_missing_and_misnamed_variables(tmp_path: Path) -> None:
    fails(write(tmp_path, {QUERY: None}), f"variable {QUERY} missing")
    fails(
        write(tmp_path, {QUERY: None, QUERY.replace("query", "qeury"): np.zeros([32, 32], np.float32)}),
        f"variable {QUERY} missing: it has bert/encoder/layer_1/attention/self/qeury/kernel instead",
    )
    fails(
        write(tmp_path, {QUERY: None, QUERY.replace("kernel", "bias"): None}),
        f"{QUERY} and 1 more missing|bias and 1 more missing",
    )


def test_missing_head(tmp_path: Path) -> None:
    path = write(tmp_path, {"cls/squad/output_weights": None, "cls/squad/output_bias": None, "bert/pooler/dense/kernel": None})
    fails(path, "cls/squad/output_weights and 1 more missing: the model has not been fine-tuned")
    # run_classifier needs no SQuAD head, but the pooler.
    fails(path, "bert/pooler/dense/kernel missing", script=RUN_CLASSIFIER)


def test_run_squad_needs_no_pooler(tmp_path: Path) -> None:
    path = write(tmp_path, {"bert/pooler/dense/kernel": None, "bert/pooler/dense/bias": None})
    check(path)
    # ... but the Estimator restores it from a trained checkpoint, and the step.
    fails(path, "missing", restored=True)
    fails(write(tmp_path), "global_step missing", restored=True)
    check(write(tmp_path, {"global_step": np.array(3, np.int64)}), restored=True)


def test_wrong_shapes(tmp_path: Path) -> None:
    fails(write(tmp_path, {QUERY: np.zeros([32, 16], np.float32)}), rf"{QUERY} has shape \[32, 16\], .* asks for \[32, 32\]")
    fails(
        write(tmp_path, {"output_weights": np.zeros([3, 32], np.float32)}),
        r"output_weights has shape \[3, 32\]",
        script=RUN_CLASSIFIER,
    )


def test_types(tmp_path: Path) -> None:
    path = write(tmp_path, dtype=np.float16)
    fails(path, "is float16 .*but floatx is float32.*--floatx=float16", floatx="float32")
    fails(path, "is float16 .*but floatx is bfloat16", floatx="bfloat16")
    fails(write(tmp_path), "is float32 .*but floatx is float16.*ckpt_type_convert", floatx="float16")
    fails(write(tmp_path, {"cls/squad/output_bias": np.zeros([2], np.float16)}), "cls/squad/output_bias is float16")


def test_training_starts_from_part_of_a_model(tmp_path: Path) -> None:
    path, random = checkpoints.check_for_training(write(tmp_path, {QUERY: None}), "--init_checkpoint", RUN_SQUAD, SIZES, 2)
    assert random == [QUERY]
    with pytest.raises(WrapError, match=r"shape \[31\]"):
        checkpoints.check_for_training(
            write(tmp_path, {"bert/embeddings/LayerNorm/beta": np.zeros([31], np.float32)}),
            "--init_checkpoint",
            RUN_SQUAD,
            SIZES,
            2,
        )
    with pytest.raises(WrapError, match="float16"):
        checkpoints.check_for_training(write(tmp_path, dtype=np.float16), "--init_checkpoint", RUN_SQUAD, SIZES, 2)


def test_float32_copy_is_exact(tmp_path: Path) -> None:
    path = write(tmp_path, {"global_step": np.array(3, np.int64)}, dtype=np.float16)
    assert checkpoints.float_type(path) == "float16"
    copy = str(tmp_path / "copy" / "model.ckpt")
    checkpoints.write_float32_copy(path, copy)
    a, b = Checkpoint(path), Checkpoint(copy)
    assert checkpoints.float_type(copy) == "float32"
    assert b.read("global_step") == 3
    assert all(np.array_equal(a.read(name).astype(np.float64), b.read(name).astype(np.float64)) for name in a.variables)
