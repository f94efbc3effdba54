"""patch_tf_models and to_layer on encoders of tf-models-official, against the stock encoder.

Runs where tf-models-official is installed; docs/guide_keras.md says how, beside TensorFlow 2.21.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tf_fastbert

tf_keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")
networks = pytest.importorskip("official.nlp.modeling.networks", reason="tf-models-official is not installed")

from tf_fastbert.tf_models import to_layer  # noqa: E402

SIZES = {"vocab_size": 60, "hidden_size": 64, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
RNG = np.random.default_rng(1)
IDS, TYPES = RNG.integers(0, 60, (3, 9)), RNG.integers(0, 2, (3, 9))
MASK = np.array([[1] * 9, [1, 0, 1, 1, 0, 0, 1, 0, 0], [1] + [0] * 8])
INPUTS = {
    "input_word_ids": tf.constant(IDS, tf.int32), "input_mask": tf.constant(MASK, tf.int32),
    "input_type_ids": tf.constant(TYPES, tf.int32),
}  # fmt: skip


def build(version: str = "BertEncoder", **changes: Any) -> Any:
    """An encoder with random weights everywhere, biases and LayerNorm too."""
    options = {**SIZES, "max_sequence_length": 16, "type_vocab_size": 2, "dropout_rate": 0.1, **changes}
    if version == "BertEncoder":
        options.setdefault("dict_outputs", True)
    encoder = getattr(networks, version)(**options)
    encoder(INPUTS)
    randomize(encoder, 3)
    return encoder


def randomize(encoder: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    encoder.set_weights([
        rng.normal(1.0 if "gamma" in weight.name else 0.0, 0.2, weight.shape).astype(np.float32) for weight in encoder.weights
    ])  # fmt: skip


def same(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    """The outputs have one structure, and are equal but for padding, where the op gives zeros."""
    tf.nest.assert_same_structure(got, want)
    if isinstance(got, dict) and "word_embeddings" in got:  # the encoder's own, in padding too
        got, want = dict(got), dict(want)
        np.testing.assert_allclose(got.pop("word_embeddings"), want.pop("word_embeddings"), atol=1e-5)
    for a, b in zip(tf.nest.flatten(got), tf.nest.flatten(want), strict=True):
        assert a.shape == b.shape
        if a.shape.rank == 3:
            assert not a.numpy()[MASK[:, : a.shape[1]] == 0].any()
        assert error(a, b) < tolerance


def error(got: Any, want: Any) -> float:
    """The 2-norm of the difference at valid tokens, by that of `want`."""
    got, want = np.asarray(got).astype(np.float64), np.asarray(want).astype(np.float64)
    if got.ndim == 3:
        valid = MASK[:, : got.shape[1]] == 1
        got, want = got[valid], want[valid]
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


@pytest.fixture
def op_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which encoders' ops were made: that the op ran, and not the stock layers."""
    from tf_fastbert import ops

    calls: list[str] = []
    original = ops.fast_bert_encoder

    def spy(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        calls.append("eager" if tf.executing_eagerly() else output.op.get_attr("weights").decode())
        return output

    monkeypatch.setattr(ops, "fast_bert_encoder", spy)
    yield calls


@pytest.mark.parametrize("version", ["BertEncoder", "BertEncoderV2"])
@pytest.mark.parametrize("changes", [
    {}, {"norm_first": True}, {"activation": "relu"}, {"output_range": 1}, {"embedding_width": 32},
    {"return_word_embeddings": True}, {"activation": "gelu"},
], ids=str)  # fmt: skip
def test_patched_outputs(version: str, changes: dict[str, Any], op_calls: list[str]) -> None:
    encoder = build(version, **changes)
    stock = encoder(INPUTS)
    assert tf_fastbert.patch_tf_models(encoder, precision="float32") == 1
    same(encoder(INPUTS), stock)
    # The weights are prepared once, not looked through on each call.
    assert op_calls == ["immutable"]
    assert tf_fastbert.unpatch_tf_models(encoder) == 1
    for got, want in zip(tf.nest.flatten(encoder(INPUTS)), tf.nest.flatten(stock), strict=True):
        np.testing.assert_array_equal(got, want)
    assert len(op_calls) == 1 and tf_fastbert.unpatch_tf_models(encoder) == 0


@pytest.mark.parametrize("all_outputs", [False, True])
def test_list_outputs(all_outputs: bool) -> None:
    encoder = build(dict_outputs=False, return_all_encoder_outputs=all_outputs)
    stock = encoder(INPUTS)
    with tf_fastbert.patched_tf_models(encoder):
        same(encoder([INPUTS[key] for key in ("input_word_ids", "input_mask", "input_type_ids")]), stock)


@pytest.mark.parametrize("kind", ["bert", "bert_v2"])
def test_build_encoder(kind: str) -> None:
    encoders = importlib.import_module("official.nlp.configs.encoders")
    config = encoders.EncoderConfig(type=kind)
    config.get().override({**SIZES, "max_position_embeddings": 16})
    encoder = encoders.build_encoder(config)
    # BertEncoderV2 has no variables before its first call; patching makes them.
    tf_fastbert.patch_tf_models(encoder)
    fast = encoder(INPUTS)
    tf_fastbert.unpatch_tf_models(encoder)
    same(fast, encoder(INPUTS))


@pytest.mark.parametrize("version", ["BertEncoder", "BertEncoderV2"])
def test_weights_that_change_are_used(version: str, tmp_path: Path) -> None:
    encoder = build(version)
    checkpoint = tf.train.Checkpoint(encoder=encoder).write(str(tmp_path / "ckpt"))
    before = encoder(INPUTS)
    tf_fastbert.patch_tf_models(encoder)
    run = tf.function(lambda inputs: encoder(inputs)["pooled_output"])
    first = run(INPUTS).numpy()
    randomize(encoder, 4)
    assert np.abs(run(INPUTS).numpy() - first).max() > 1e-3
    changed = encoder(INPUTS)
    tf_fastbert.unpatch_tf_models(encoder)
    same(changed, encoder(INPUTS))
    tf_fastbert.patch_tf_models(encoder)
    tf.train.Checkpoint(encoder=encoder).read(checkpoint).assert_consumed()
    same(encoder(INPUTS), before)


@pytest.mark.parametrize("version", ["BertEncoder", "BertEncoderV2"])
def test_a_classifier_predicts_with_the_op_and_trains_without(version: str, op_calls: list[str]) -> None:
    models = importlib.import_module("official.nlp.modeling.models")
    encoder = build(version, dropout_rate=0.0, attention_dropout_rate=0.0)
    classifier = models.BertClassifier(encoder, num_classes=2)
    classifier.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    stock = classifier.predict(INPUTS, verbose=0)
    assert not op_calls
    assert tf_fastbert.patch_tf_models(classifier) == 1  # the encoder is found in it, and predict's graph is made again
    np.testing.assert_allclose(classifier.predict(INPUTS, verbose=0), stock, atol=2e-5)
    assert op_calls == ["immutable"]
    kernel = encoder.transformer_layers[0]._intermediate_dense.kernel
    before = kernel.numpy()
    classifier.fit(INPUTS, np.array([0, 1, 1]), verbose=0)
    assert op_calls == ["immutable"] and not np.array_equal(before, kernel.numpy())
    trained = classifier.predict(INPUTS, verbose=0)
    assert np.abs(trained - stock).max() > 1e-5
    tf_fastbert.unpatch_tf_models(classifier)
    np.testing.assert_allclose(classifier.predict(INPUTS, verbose=0), trained, atol=2e-5)


def test_a_gradient_without_training_says_what_to_do() -> None:
    encoder = build()
    tf_fastbert.patch_tf_models(encoder)
    with pytest.raises(NotImplementedError, match="for inference and has no gradient"), tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(INPUTS)["pooled_output"])
        tape.gradient(loss, encoder.trainable_variables)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(INPUTS, training=True)["pooled_output"])
    assert tape.gradient(loss, encoder.transformer_layers[0]._intermediate_dense.kernel) is not None


@pytest.mark.parametrize("changes, message", [
    ({"return_attention_scores": True}, "return_attention_scores is not supported"),
    ({"activation": "swish"}, "the activation .* is not supported; supported: gelu_tanh"),
    ({"num_attention_heads": 64}, "the size per head .* is not supported"),
], ids=str)  # fmt: skip
def test_what_is_not_supported_is_named(changes: dict[str, Any], message: str) -> None:
    encoder = build(**changes)
    with pytest.raises(ValueError, match=message):
        tf_fastbert.patch_tf_models(encoder)
    assert "call" not in vars(encoder)


def test_no_encoder_is_named() -> None:
    with pytest.raises(ValueError, match="Dense.* is no BertEncoder or BertEncoderV2"):
        tf_fastbert.patch_tf_models(tf_keras.layers.Dense(3))


def test_a_mixed_policy_is_for_to_layer() -> None:
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        encoder = build()
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
    with pytest.raises(ValueError, match=r"computes in bfloat16 .* tf_fastbert.tf_models.to_layer"):
        tf_fastbert.patch_tf_models(encoder)
    layer, exact = to_layer(encoder), build()  # the same values in float32
    assert layer.compute_dtype == "bfloat16"
    got, stock, want = (model(INPUTS)["sequence_output"] for model in (layer, encoder, exact))
    assert error(got, want) < min(1.5 * error(stock, want), 5e-2)


@pytest.mark.parametrize("keras", ["tf_keras", "keras"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_to_layer(keras: str, dtype: str, tmp_path: Path) -> None:
    encoder = build("BertEncoderV2", norm_first=dtype == "float16")
    layer = to_layer(encoder, dtype=dtype, keras=keras)
    package = importlib.import_module(keras)
    same(layer(INPUTS), encoder(INPUTS), 1e-5 if dtype == "float32" else 1e-2)
    keys = {key: package.Input((None,), dtype="int32", name=key) for key in INPUTS}
    model = package.Model(keys, layer(keys))
    model.save(str(tmp_path / "model.keras"))
    again = package.models.load_model(str(tmp_path / "model.keras"))
    same(again(INPUTS), encoder(INPUTS), 1e-5 if dtype == "float32" else 1e-2)


def test_to_layer_refuses_what_it_cannot_copy() -> None:
    with pytest.raises(ValueError, match="embeddings other than BERT's; patch_tf_models supports it"):
        to_layer(build(embedding_width=32))
    with pytest.raises(ValueError, match="keras is 'torch'"):
        to_layer(build(), keras="torch")
    with pytest.raises(ValueError, match="to_layer: Dense is no BertEncoder"):
        to_layer(tf_keras.layers.Dense(3))
