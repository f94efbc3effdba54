"""keras.BertEncoder and tf_keras.BertEncoder against the float64 reference: how they are called, saved, loaded and refused."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tf_fastbert
from tests import quantized_configs
from tests.layers import models
from tests.layers.conftest import Flavor
from tests.layers.models import CONFIG, config, encoder_variables
from tests.random_configs import check_output, make_inputs, random_config
from tf_fastbert import ops
from tf_fastbert.quantization import names


def layer_for(flavor: Flavor, case: Any, **options: Any) -> Any:
    """A layer with random weights, for `case`."""
    attributes = case.attributes()
    del attributes["size_per_head"]
    num_heads = attributes.pop("num_heads")
    return flavor.layers.BertEncoder(case.num_layers, num_heads, case.inner_size, dtype=case.dtype, **attributes, **options)


def loaded(flavor: Flavor, case: Any) -> Any:
    layer = layer_for(flavor, case)
    layer.build((None, None, case.hidden_size))
    layer.set_weights([array for weights in make_inputs(case).layers for array in weights])
    return layer


@pytest.mark.parametrize("seed", range(4))
def test_random_models(flavor: Flavor, seed: int) -> None:
    case = random_config(100 + seed, small=True)
    inputs = make_inputs(case)
    layer = loaded(flavor, case)
    check_output(case, inputs, layer(inputs.hidden_states, sequence_length=inputs.sequence_length).numpy())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_from_checkpoint(flavor: Flavor, tmp_path: Path, dtype: str) -> None:
    case = config(dtype=dtype, activation="gelu_erf")
    inputs = make_inputs(case)
    folder = models.write(tmp_path, case)
    layer = flavor.layers.BertEncoder.from_checkpoint(folder, precision="float32")
    assert (layer.compute_dtype, layer.activation, layer.trainable_variables) == (dtype, "gelu_erf", [])
    check_output(case, inputs, layer(inputs.hidden_states, sequence_length=inputs.sequence_length).numpy())
    # By prefix, with a config from elsewhere, in another type.
    half = flavor.layers.BertEncoder.from_checkpoint(folder / "bert_model.ckpt", folder / "bert_config.json", dtype="float16")
    assert half.compute_dtype == "float16" and half(inputs.hidden_states.astype(np.float32)).dtype == tf.float16


def test_epsilon_comes_from_the_config(flavor: Flavor, tmp_path: Path) -> None:
    case = config(epsilon=1e-2)
    inputs = make_inputs(case)
    layer = flavor.layers.BertEncoder.from_checkpoint(models.write(tmp_path, case, layer_norm_eps=1e-2))
    check_output(case, inputs, layer(inputs.hidden_states, sequence_length=inputs.sequence_length).numpy())


@pytest.mark.parametrize("mode", ["int8_mode1", "int8_mode2"])
def test_an_int8_checkpoint_knows_its_mode(flavor: Flavor, tmp_path: Path, mode: str) -> None:
    case = config(lengths=(7, 4, 0))
    inputs = make_inputs(case)
    quantized = quantized_configs.quantize(case, inputs, mode)
    variables = encoder_variables(inputs, quantized.layers)
    for index, values in enumerate(quantized.amax_lists):
        variables[names.amax_list_name(index)] = values
    layer = flavor.layers.BertEncoder.from_checkpoint(models.write(tmp_path, case, variables))
    assert layer.quantization == mode
    layer_output = layer(inputs.hidden_states, sequence_length=inputs.sequence_length).numpy()
    direct = ops.fast_bert_quantized_encoder(
        inputs.hidden_states, inputs.sequence_length, [ops.LayerWeights(*layer) for layer in quantized.layers],
        quantized.amax_lists, quantization=mode, num_heads=2, size_per_head=32,
    ).numpy()  # fmt: skip
    np.testing.assert_array_equal(layer_output, direct)
    expected, valid = quantized_configs.expected_output(case, inputs, quantized), inputs.mask()
    assert np.linalg.norm((layer_output - expected)[valid]) < 0.03 * np.linalg.norm(expected[valid])
    with pytest.raises(ValueError, match="is int8, but quantization is 'fp8'"):
        flavor.layers.BertEncoder.from_checkpoint(tmp_path, quantization="fp8")


def functional(flavor: Flavor, case: Any, layer: Any) -> Any:
    hidden = flavor.keras.Input((None, case.hidden_size), dtype=case.dtype, name="hidden")
    lengths = flavor.keras.Input((), dtype="int32", name="lengths")
    return flavor.keras.Model([hidden, lengths], layer(hidden, sequence_length=lengths))


@pytest.mark.parametrize("changes", [{}, {"dtype": "bfloat16"}, {"dtype": "float16", "layer_norm": "pre"}, {"all_layers": True}], ids=str)
def test_predict_save_and_load(flavor: Flavor, tmp_path: Path, changes: dict[str, Any]) -> None:
    case = config(**changes)
    inputs = make_inputs(case)
    model = functional(flavor, case, loaded(flavor, case))
    data = [inputs.hidden_states, inputs.sequence_length]
    if not case.all_layers:  # predict puts batches together along the first axis
        check_output(case, inputs, model.predict(data, batch_size=2, verbose=0))
    model.save(str(tmp_path / "model.keras"))
    again = flavor.load(tmp_path / "model.keras")
    check_output(case, inputs, again(data).numpy())
    model.save_weights(str(tmp_path / "model.weights.h5"))
    fresh = functional(flavor, case, layer_for(flavor, case))
    assert not np.array_equal(fresh(data).numpy(), model(data).numpy())
    fresh.load_weights(str(tmp_path / "model.weights.h5"))
    check_output(case, inputs, fresh(data).numpy())


def test_config_round_trip(flavor: Flavor) -> None:
    case = config(layer_norm="pre", epsilon=1e-5, dtype="float16", remove_padding=False)
    layer = layer_for(flavor, case, name="mine")
    again = flavor.layers.BertEncoder.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.name, again.compute_dtype, again.layer_norm, again.epsilon) == ("mine", "float16", "pre", 1e-5)


def test_in_a_tf_function_weights_may_change(flavor: Flavor) -> None:
    inputs = make_inputs(CONFIG)
    layer = loaded(flavor, CONFIG)
    run = tf.function(lambda x, n: layer(x, sequence_length=n))
    check_output(CONFIG, inputs, run(inputs.hidden_states, inputs.sequence_length).numpy())
    other = config(seed=2)
    layer.set_weights([array for weights in make_inputs(other).layers for array in weights])
    check_output(other, inputs._replace(layers=make_inputs(other).layers), run(inputs.hidden_states, inputs.sequence_length).numpy())


def test_exported_saved_model(flavor: Flavor, tmp_path: Path) -> None:
    inputs = make_inputs(CONFIG)
    model = functional(flavor, CONFIG, loaded(flavor, CONFIG))
    model.export(str(tmp_path / "saved"))
    served = tf.saved_model.load(str(tmp_path / "saved"))
    data = [tf.constant(inputs.hidden_states), tf.constant(inputs.sequence_length)]
    check_output(CONFIG, inputs, np.asarray(served.serve(data)))


def test_masks_of_layers_before(flavor: Flavor) -> None:
    """Embedding(mask_zero=True) makes a mask with holes, which goes on to the next layer; lengths beside it narrow it."""
    keras, ids = flavor.keras, np.array([[3, 0, 5, 2, 9, 0], [4, 4, 1, 0, 0, 0]])
    case = config(batch=2, seq_len=6, lengths=(6, 6))
    encoder, embedding = loaded(flavor, case), keras.layers.Embedding(10, 64, mask_zero=True)
    words, lengths = keras.Input((None,), dtype="int32"), keras.Input((), dtype="int32")
    masked = keras.Model(words, encoder(embedding(words)))
    narrowed = keras.Model([words, lengths], encoder(embedding(words), sequence_length=lengths))
    pooled = keras.Model(words, keras.layers.GlobalAveragePooling1D()(encoder(embedding(words))))
    hidden = np.asarray(embedding(ids))
    inputs = make_inputs(case)._replace(hidden_states=hidden, sequence_length=(ids != 0).astype(np.int32))
    output = masked.predict(ids, verbose=0)
    check_output(case, inputs, output)
    np.testing.assert_allclose(pooled.predict(ids, verbose=0)[1], output[1, :3].mean(0), atol=1e-5)
    cut = (ids != 0) & (np.arange(6) < np.array([[3], [2]]))
    check_output(case, inputs._replace(sequence_length=cut.astype(np.int32)), narrowed.predict([ids, np.array([3, 2])], verbose=0))


def test_a_mixed_policy_keeps_weights_in_the_compute_type(flavor: Flavor) -> None:
    case = config(dtype="bfloat16")
    inputs = make_inputs(case)
    layer = flavor.layers.BertEncoder(2, 2, 96, dtype="mixed_bfloat16")
    layer.build((None, None, 64))
    layer.set_weights([array for weights in inputs.layers for array in weights])
    output = layer(inputs.hidden_states.astype(np.float32), sequence_length=inputs.sequence_length)
    assert output.dtype == tf.bfloat16 and layer.weights[0].dtype in ("bfloat16", tf.bfloat16)
    check_output(case, inputs, output.numpy())


def test_a_head_is_trained_and_the_encoder_is_not(flavor: Flavor) -> None:
    keras, encoder = flavor.keras, loaded(flavor, CONFIG)
    hidden = keras.Input((None, 64))
    model = keras.Model(hidden, keras.layers.Dense(1)(encoder(hidden)[:, 0]))
    before = [np.asarray(weight).copy() for weight in encoder.weights]
    head = np.asarray(model.layers[-1].kernel).copy()
    model.compile("sgd", "mse")
    model.fit(make_inputs(CONFIG).hidden_states, np.ones((3, 1)), verbose=0)
    assert not np.array_equal(head, np.asarray(model.layers[-1].kernel))
    for weight, value in zip(encoder.weights, before, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), value)


def test_training_is_refused(flavor: Flavor) -> None:
    keras, encoder = flavor.keras, loaded(flavor, CONFIG)
    with pytest.raises(ValueError, match="BertEncoder is for inference and has no gradient: its weights cannot be trained"):
        encoder.trainable = True
    with pytest.raises(ValueError, match="for inference"):
        flavor.layers.BertEncoder(2, 2, 96, trainable=True)
    # Something trainable below it.
    hidden = keras.Input((None, 64))
    model = keras.Model(hidden, encoder(keras.layers.Dense(64)(hidden)))
    model.compile("sgd", "mse")
    with pytest.raises(NotImplementedError, match="is for inference and has no gradient"):
        model.fit(np.ones((2, 3, 64), np.float32), np.ones((2, 3, 64), np.float32), verbose=0)


def test_what_is_wrong_is_named(flavor: Flavor, tmp_path: Path) -> None:
    layers = flavor.layers
    with pytest.raises(ValueError, match="dtype is (float64|int32); it must be one of float32, float16, bfloat16"):
        layers.BertEncoder(2, 2, 96, dtype="float64")
    with pytest.raises(ValueError, match="num_layers is 0, expected a positive integer"):
        layers.BertEncoder(0, 2, 96)
    with pytest.raises(ValueError, match="activation is 'swish', expected one of 'gelu_tanh'"):
        layers.BertEncoder(2, 2, 96, activation="swish")
    with pytest.raises(ValueError, match=r"hidden_states has shape \[2, 64\]|expected \[batch, seq_len, hidden size\]"):
        layers.BertEncoder(2, 2, 96)(tf.zeros([2, 64]))
    with pytest.raises(ValueError, match="not a multiple of the number of attention heads"):
        layers.BertEncoder(2, 3, 96)(tf.zeros([2, 3, 64]))
    layer = loaded(flavor, CONFIG)
    with pytest.raises(ValueError, match=r"sequence_length has shape \[2, 5\], expected \[batch\] \(lengths\)"):
        layer(tf.zeros([2, 3, 64]), sequence_length=tf.ones([2, 5], tf.int32))
    with pytest.raises(TypeError, match="sequence_length is float32, expected int32"):
        layer(tf.zeros([2, 3, 64]), sequence_length=tf.ones([2, 3]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="4"):
        layer(tf.zeros([2, 3, 64]), sequence_length=tf.constant([4, 1]))
    models.write(tmp_path, CONFIG)
    (tmp_path / "bert_config.json").unlink()
    with pytest.raises(ValueError, match="has no bert_config.json beside it: give its path as config"):
        layers.BertEncoder.from_checkpoint(tmp_path)


def test_another_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if: the other backends need packages of their own. The file is run again, under no name."""
    keras = pytest.importorskip("keras", minversion="3")
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ImportError, match="the backend is jax: set the environment variable KERAS_BACKEND=tensorflow"):
        runpy.run_path(str(Path(tf_fastbert.__file__).parent / "keras.py"))
