"""Calibration on a tiny model: the ranges of its tensors without their padding, written beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.google_bert import IDS, PREFIX_MASK, bert_config, build, load, modeling, random_values, tf1  # noqa: F401
from tests.quantization.tiny_quantized import tensors
from tf_fastbert.checkpoint import CheckpointError, write_checkpoint
from tf_fastbert.quantization import calibrate, modes, names, search
from tf_fastbert.quantization.calibrate import Batch


@pytest.fixture
def checkpoint(tf1: Any, modeling: Any, tmp_path: Path) -> str:  # noqa: F811
    with tf1.Graph().as_default():
        build(tf1, modeling)
        values = random_values(tf1, tf1.trainable_variables())
    write_checkpoint(str(tmp_path / "model.ckpt"), {name: value.astype(np.float16) for name, value in values.items()})
    return str(tmp_path / "model.ckpt")


def batches() -> list[Batch]:
    return [
        Batch(IDS[rows].astype(np.int32), PREFIX_MASK[rows].astype(np.int32), np.zeros_like(IDS[rows], np.int32))
        for rows in (slice(0, 2), slice(2, 3))
    ]


def test_histograms_and_ranges(tf1: Any, modeling: Any, checkpoint: str, tmp_path: Path) -> None:  # noqa: F811
    config = bert_config(modeling)
    seen: list[str] = []
    histograms = calibrate.collect(modeling, config, checkpoint, batches(), lambda items, what: seen.append(what) or items)
    assert seen == ["ranges", "histograms"]
    tokens = int(PREFIX_MASK.sum())
    pairs = int((PREFIX_MASK.sum(1) ** 2).sum())
    assert set(histograms) == {(layer, field) for layer in range(2) for field in names.ACTIVATIONS}
    for (_, field), histogram in histograms.items():
        width = 96 if field in ("intermediate_sum", "output_input") else 64
        count = pairs * config.num_attention_heads if field.startswith("softmax") else tokens * width
        assert histogram.counts.sum() == count  # padding is not counted
        assert histogram.counts[-1] >= 1  # the largest
    assert histograms[0, "softmax_output"].largest == pytest.approx(1.0)  # the sequence of one token
    # The input of the second layer, from Google's own graph.
    with tf1.Graph().as_default(), tf1.Session() as session:
        model = modeling.BertModel(config, False, tf1.constant(IDS, tf1.int32), tf1.constant(PREFIX_MASK, tf1.int32))
        calibrate.load_variables(tf1, session, checkpoint)
        first = np.abs(session.run(model.get_all_encoder_layers()[0])[PREFIX_MASK > 0])
    assert histograms[1, "attention_input"].largest == pytest.approx(first.max(), rel=1e-5)

    kernels = calibrate.read_kernels(checkpoint)
    methods = dict.fromkeys(names.ACTIVATIONS, ("percentile", 99.0))
    amax = calibrate.choose_ranges(histograms, kernels, modes.FT1, methods)
    assert amax[1, "attention_input"] == pytest.approx(np.percentile(first, 99.0), rel=0.05)
    calibrate.write_calibrated(checkpoint, str(tmp_path / "calibrated.ckpt"), amax)
    before, after = tensors(checkpoint), tensors(str(tmp_path / "calibrated.ckpt"))
    for name, value in before.items():
        assert after[name].dtype == np.float16
        np.testing.assert_array_equal(after.pop(name), value)
    assert len(after) == 2 * 2 * 21 and all(value.dtype == np.float32 for value in after.values())
    kernel = "bert/encoder/layer_1/intermediate/dense/kernel"
    np.testing.assert_array_equal(after[f"{kernel}_quantizer/quant_max"], np.abs(before[kernel]).max(axis=0))
    np.testing.assert_array_equal(after[f"{kernel}_quantizer/quant_min"], -np.abs(before[kernel]).max(axis=0))
    # A calibrated checkpoint can be calibrated again.
    calibrate.write_calibrated(str(tmp_path / "calibrated.ckpt"), str(tmp_path / "again.ckpt"), amax)
    assert tensors(str(tmp_path / "again.ckpt")).keys() == tensors(str(tmp_path / "calibrated.ckpt")).keys()


def test_best_methods(tf1: Any, modeling: Any, checkpoint: str) -> None:  # noqa: F811
    config = bert_config(modeling)
    histograms = calibrate.collect(modeling, config, checkpoint, batches())
    methods = search.best_methods(modeling, config, checkpoint, batches(), histograms, modes.FT2)
    assert methods.keys() == names.ACTIVATIONS.keys()
    assert all(methods[field] in search.CANDIDATES for field in modes.FT2.on)
    calibrate.choose_ranges(histograms, {}, modes.FT2, methods)


def test_what_cannot_be_calibrated(tf1: Any, modeling: Any, checkpoint: str, tmp_path: Path) -> None:  # noqa: F811
    config = bert_config(modeling)
    values = tensors(checkpoint)
    name = "bert/encoder/layer_1/output/dense/kernel"
    changed = str(tmp_path / "changed.ckpt")
    for value, message in (
        (None, f"no variable {name}"),
        (np.zeros((96, 64), np.int8), f"{name} is int8: a quantized checkpoint cannot be calibrated"),
        (np.zeros((4, 64), np.float32), rf"{name} has shape \[4, 64\], but bert_config.json asks for \[96, 64\]"),
        (np.full((96, 64), np.nan, np.float32), "layer 1's output_sum reaches nan"),
    ):
        write_checkpoint(changed, {key: v for key, v in {**values, name: value}.items() if v is not None})
        with pytest.raises(CheckpointError, match=message):
            calibrate.collect(modeling, config, changed, batches())
    with pytest.raises(ValueError, match="nothing to calibrate with"):
        calibrate.collect(modeling, config, checkpoint, [])
    with pytest.raises(CheckpointError, match="is the input checkpoint itself"):
        calibrate.write_calibrated(checkpoint, checkpoint, {})
