"""The encoder with hooks: Google's numbers when they do nothing, rounded ones and straight-through gradients when they
quantize."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.google_bert import IDS, PREFIX_MASK, bert_config, build, load, modeling, random_values, tf1  # noqa: F401
from tf_fastbert.quantization import fake_quant, graph, modes, names


class Nothing:
    residual = False

    def layer(self, index: int) -> Nothing:
        return self

    def activation(self, field: str, tensor: Any) -> Any:
        return tensor

    kernel = activation


def test_without_quantizers_it_is_googles_encoder(tf1: Any, modeling: Any) -> None:  # noqa: F811
    outputs = []
    for hooked in (False, True):
        with tf1.Graph().as_default(), tf1.Session() as session:
            if hooked:
                with graph.hooked(modeling, Nothing()):
                    model = build(tf1, modeling)
            else:
                model = build(tf1, modeling)
            variables = [(v.op.name, v.shape.as_list()) for v in tf1.trainable_variables()]
            load(tf1, session, random_values(tf1, tf1.trainable_variables()))
            outputs.append((variables, session.run([model.get_pooled_output(), *model.get_all_encoder_layers()])))
    assert outputs[0][0] == outputs[1][0]  # names, shapes and order, on which Google's optimizer depends
    for google, ours in zip(outputs[0][1], outputs[1][1], strict=True):
        np.testing.assert_allclose(ours, google, rtol=2e-5, atol=2e-5)


def test_rounds_to_int8_and_lets_gradients_through(tf1: Any) -> None:  # noqa: F811
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.constant([[0.3, -0.3, 1.0, 5.0], [0.0, -5.0, 0.009, 0.0039]])
        y = fake_quant.fake_quantize(x, tf1.constant(1.0))
        by_channel = fake_quant.fake_quantize(x, tf1.constant([1.0, 2.0, 4.0, 8.0]))
        gradient = tf1.gradients(y, x)[0]
        y, by_channel, gradient = session.run([y, by_channel, gradient])
    np.testing.assert_allclose(y * 127, [[38, -38, 127, 127], [0, -127, 1, 0]], atol=1e-4)
    np.testing.assert_allclose(by_channel[0] * 127 / [1, 2, 4, 8], [38, -19, 32, 79], atol=1e-4)
    np.testing.assert_array_equal(gradient, [[1, 1, 1, 0], [1, 0, 1, 1]])


def test_rounds_to_e4m3(tf1: Any) -> None:  # noqa: F811
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.constant([448.0, 500.0, 17.0, 19.0, 1.0625, -0.001, 0.0])
        y = fake_quant.fake_quantize(x, tf1.constant(448.0), fp8=True)
        y, gradient = session.run([y, tf1.gradients(y, x)[0]])
    np.testing.assert_allclose(y, [448, 448, 16, 20, 1.0, -0.001953125, 0.0], atol=1e-6)
    np.testing.assert_array_equal(gradient, [1, 0, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("mode", modes.BY_NAME.values(), ids=modes.BY_NAME)
def test_a_quantized_model_is_near_the_float_one_and_trains(tf1: Any, modeling: Any, mode: modes.Mode) -> None:  # noqa: F811
    with tf1.Graph().as_default(), tf1.Session() as session:
        with graph.hooked(modeling, fake_quant.FakeQuantizer(mode)):
            model = build(tf1, modeling)
        output = tf1.boolean_mask(model.get_sequence_output(), tf1.constant(PREFIX_MASK > 0))
        trained = tf1.trainable_variables()
        values = random_values(tf1, trained)
        load(tf1, session, values)
        ranges = [v for v in tf1.global_variables() if names.is_range(v.op.name)]
        assert len(ranges) == 2 * 2 * (len(names.ACTIVATIONS) + len(names.KERNELS)) and not set(ranges) & set(trained)
        largest = {v.op.name: np.abs(values[v.op.name]).max(axis=0) for v in trained if v.op.name.endswith("kernel")}
        weights = np.random.default_rng(0).standard_normal(output.shape.as_list()[-1]).astype(np.float32)
        gradients = tf1.gradients(output * weights, [v for v in trained if "/encoder/" in v.op.name and "kernel" in v.op.name])

        def run(activations: float) -> np.ndarray:
            for v in ranges:
                kernel = v.op.name.rpartition("_quantizer")[0]
                amax = largest.get(kernel, np.float32(activations))
                amax = amax.max() if mode.fp8 else amax
                v.load(np.broadcast_to(amax if v.op.name.endswith(names.MAX) else -amax, v.shape.as_list()), session)
            return session.run(output)

        near, coarse = run(8.0), run(80.0)
        run(8.0)
        assert all(np.isfinite(value).all() and value.any() for value in session.run(gradients))
    with tf1.Graph().as_default(), tf1.Session() as session:
        exact = build(tf1, modeling)
        load(tf1, session, values)
        exact = session.run(exact.get_sequence_output())[PREFIX_MASK > 0]
    assert 1e-4 < np.linalg.norm(near - exact) / np.linalg.norm(exact) < 0.15
    if not mode.fp8:
        assert np.linalg.norm(coarse - exact) > 3 * np.linalg.norm(near - exact)
