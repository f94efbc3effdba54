"""keras.Bert and tf_keras.Bert: the whole model against the float64 reference, and against Google's graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.google_bert import IDS, MASK_WITH_HOLES, PREFIX_MASK, build, load, modeling, tf1  # noqa: F401 (fixtures)
from tests.layers import models
from tests.layers.conftest import Flavor
from tests.layers.models import CONFIG, bert_float64, config
from tf_fastbert.checkpoint import Checkpoint

TYPES = IDS % 2


def check(case: Any, outputs: dict[str, Any], mask: np.ndarray = PREFIX_MASK) -> None:
    """Asserts the outputs for IDS, mask and TYPES: their names, accuracy, and zeros in padding."""
    expected, pooled = bert_float64(case, IDS, mask, TYPES)
    last = expected[-1] if case.all_layers else expected
    wanted = {"sequence_output": last, "pooled_output": pooled}
    outputs = dict(outputs)
    if case.all_layers:
        for got, want in zip(outputs.pop("encoder_outputs"), expected, strict=True):
            near(case, got, want)
    assert set(outputs) == set(wanted)
    for name, want in wanted.items():
        near(case, outputs[name], want)
    assert not np.asarray(outputs["sequence_output"])[mask == 0].any()


def near(case: Any, got: Any, want: np.ndarray) -> None:
    got = np.asarray(got).astype(np.float64)
    assert got.shape == want.shape
    if case.dtype == "float32":
        assert np.abs(got - want).max() < 1e-4
    else:
        assert np.linalg.norm(got - want) < 1e-2 * np.linalg.norm(want)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mask", [PREFIX_MASK, MASK_WITH_HOLES], ids=["prefix", "holes"])
def test_from_checkpoint(flavor: Flavor, tmp_path: Path, dtype: str, mask: np.ndarray) -> None:
    case = config(dtype=dtype)
    bert = flavor.layers.Bert.from_checkpoint(models.write(tmp_path, case), precision="float32")
    assert bert.compute_dtype == dtype and not bert.trainable_variables
    check(case, bert(tf.constant(IDS), input_mask=tf.constant(mask), token_type_ids=tf.constant(TYPES)), mask)


@pytest.mark.parametrize("keys", [
    ("input_word_ids", "input_mask", "input_type_ids"), ("input_ids", "input_mask", "segment_ids"),
    ("input_ids", "attention_mask", "token_type_ids"),
])  # fmt: skip
def test_predict_with_a_dictionary(flavor: Flavor, tmp_path: Path, keys: tuple[str, ...]) -> None:
    case = config(all_layers=True)
    bert = flavor.layers.Bert.from_checkpoint(models.write(tmp_path, case), all_layers=True)
    inputs = {key: flavor.keras.Input((None,), dtype="int32", name=key) for key in keys}
    model = flavor.keras.Model(inputs, bert(inputs))
    data = dict(zip(keys, (IDS, PREFIX_MASK, TYPES), strict=True))
    check(case, model.predict(data, batch_size=2, verbose=0))
    model.save(str(tmp_path / "bert.keras"))
    check(case, flavor.load(tmp_path / "bert.keras").predict(data, verbose=0))


def test_lengths_in_place_of_a_mask_and_defaults(flavor: Flavor, tmp_path: Path) -> None:
    bert = flavor.layers.Bert.from_checkpoint(models.write(tmp_path, CONFIG))
    check(CONFIG, bert(tf.constant(IDS), input_mask=tf.constant([9, 5, 1]), token_type_ids=tf.constant(TYPES)))
    alone, full = bert(tf.constant(IDS)), bert(tf.constant(IDS), tf.ones([3, 9], tf.int32), tf.zeros([3, 9], tf.int64))
    np.testing.assert_array_equal(alone["sequence_output"], full["sequence_output"])
    run = tf.function(lambda ids: bert(ids)["pooled_output"])
    np.testing.assert_allclose(run(tf.constant(IDS)), alone["pooled_output"], atol=1e-6)


def test_without_a_pooler(flavor: Flavor, tmp_path: Path) -> None:
    values = {**models.tables(CONFIG), **models.encoder_variables(models.make_inputs(CONFIG))}
    values = {name: value for name, value in values.items() if "pooler" not in name}
    folder = models.write(tmp_path, CONFIG, values)
    assert set(flavor.layers.Bert.from_checkpoint(folder)(tf.constant(IDS))) == {"sequence_output"}
    with pytest.raises(ValueError, match="has no variable bert/pooler/dense/kernel"):
        flavor.layers.Bert.from_checkpoint(folder, pooler=True)


def test_config_round_trip(flavor: Flavor) -> None:
    bert = flavor.layers.Bert(60, 64, 2, 2, 96, pooler=False, dtype="float16", activation="relu", all_layers=True)
    again = flavor.layers.Bert.from_config(bert.get_config())
    assert again.get_config() == bert.get_config()
    assert again.encoder.activation == "relu" and again.encoder.compute_dtype == "float16"


def test_what_is_wrong_is_named(flavor: Flavor, tmp_path: Path) -> None:
    bert = flavor.layers.Bert(60, 64, 2, 2, 96, max_position_embeddings=16)
    ids = tf.constant(IDS)
    with pytest.raises(ValueError, match="unknown input 'ids'; known are input_word_ids"):
        bert({"ids": ids})
    with pytest.raises(ValueError, match="lack the ids"):
        bert({"input_mask": ids})
    with pytest.raises(ValueError, match="input_ids is given twice, once as 'input_ids'"):
        bert({"input_word_ids": ids, "input_ids": ids})
    with pytest.raises(TypeError, match="input_ids is float32, expected int32"):
        bert(tf.zeros([2, 3]))
    with pytest.raises(ValueError, match=r"sequence_length has shape \[3, 8\]"):
        bert(ids, input_mask=tf.ones([3, 8], tf.int32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="60"):
        bert(tf.constant([[60]]))
    with pytest.raises(ValueError, match="vocab_size is 0, expected a positive integer"):
        flavor.layers.Bert(0, 64, 2, 2, 96)
    values = models.tables(CONFIG)
    values["bert/embeddings/word_embeddings"] = values["bert/embeddings/word_embeddings"][:, :32]
    folder = models.write(tmp_path, CONFIG, {**values, **models.encoder_variables(models.make_inputs(CONFIG))})
    with pytest.raises(ValueError, match=r"word_embeddings has shape \[60, 32\], expected \[any, 64\]"):
        flavor.layers.Bert.from_checkpoint(folder)


def test_the_readmes_model(flavor: Flavor, tmp_path: Path) -> None:
    """The mask is made of the ids inside the model, which is saved and loaded with it. In front of the tests with Google's graph, whose
    fixture takes `!=` away from tensors."""
    keras = flavor.keras
    bert = flavor.layers.Bert.from_checkpoint(models.write(tmp_path, CONFIG))
    words = keras.Input((None,), dtype="int32")
    model = keras.Model(words, bert(words, input_mask=words != 0)["pooled_output"])
    ids = (IDS + 1) % 60 * PREFIX_MASK
    _, pooled = bert_float64(CONFIG, ids, ids != 0, np.zeros_like(ids))
    assert np.abs(model.predict(ids, verbose=0) - pooled).max() < 1e-4
    if flavor.name == "keras":  # tf_keras does not load its own `words != 0`
        model.save(str(tmp_path / "bert.keras"))
        assert np.abs(flavor.load(tmp_path / "bert.keras").predict(ids, verbose=0) - pooled).max() < 1e-4


@pytest.mark.parametrize("mask", [PREFIX_MASK, MASK_WITH_HOLES], ids=["prefix", "holes"])
def test_as_googles_graph(flavor: Flavor, tmp_path: Path, tf1: Any, modeling: Any, mask: np.ndarray) -> None:  # noqa: F811
    """The same checkpoint in Google's BertModel, unpatched."""
    folder = models.write(tmp_path, CONFIG)
    with tf1.Graph().as_default(), tf1.Session() as session:
        model = build(tf1, modeling, mask)
        names = {variable.op.name for variable in tf1.trainable_variables()}
        values = {name: value.astype(np.float32) for name, value in read(folder).items()}
        assert names == set(values)
        load(tf1, session, values)
        sequence, pooled = session.run([model.get_sequence_output(), model.get_pooled_output()])
    outputs = flavor.layers.Bert.from_checkpoint(folder)(tf.constant(IDS), tf.constant(mask), tf.constant(TYPES))
    np.testing.assert_allclose(outputs["pooled_output"], pooled, atol=2e-5)
    np.testing.assert_allclose(outputs["sequence_output"].numpy()[mask == 1], sequence[mask == 1], atol=2e-5)


def read(folder: Path) -> dict[str, np.ndarray]:
    checkpoint = Checkpoint(str(folder))
    return {name: checkpoint.read(name) for name in checkpoint.variables}
