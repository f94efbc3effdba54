"""FastBertQuantizedEncoder: shapes, types and ranges that it refuses, in Python, in the shape function and in the kernel."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import new_session
from tests.quantized_configs import Quantized, quantize
from tests.random_configs import Config, make_inputs
from tf_fastbert.ops import LayerWeights, fast_bert_quantized_encoder, load_library

CONFIG = Config(seed=1, num_layers=2, num_heads=2, size_per_head=32, inner_size=96, batch=2, seq_len=5, lengths=(5, 2))
INVALID = tf.errors.InvalidArgumentError
tf1 = tf.compat.v1


def model(mode: str = "int8_mode1") -> Quantized:
    return quantize(make_inputs(CONFIG), mode)


def with_weight(quantized: Quantized, layer: int, **fields: np.ndarray) -> Quantized:
    layers = list(quantized.layers)
    layers[layer] = layers[layer]._replace(**fields)
    return quantized._replace(layers=layers)


def with_amax(quantized: Quantized, layer: int, change: Callable[[np.ndarray], np.ndarray]) -> Quantized:
    lists = [array.copy() for array in quantized.amax_lists]
    lists[layer] = change(lists[layer])
    return quantized._replace(amax_lists=lists)


def with_range(quantized: Quantized, layer: int, index: int, value: float) -> Quantized:
    quantized = with_amax(quantized, layer, np.copy)
    quantized.amax_lists[layer][index] = value
    return quantized


def call(quantized: Quantized, mode: str = "int8_mode1", **changes: Any) -> tf.Tensor:
    inputs = make_inputs(CONFIG)
    layers = [LayerWeights(*layer) for layer in quantized.layers]
    attributes = {**CONFIG.attributes(), "quantization": mode, **changes}
    return fast_bert_quantized_encoder(inputs.hidden_states, inputs.sequence_length, layers, quantized.amax_lists, **attributes)


def run_with_unknown_shapes(quantized: Quantized, device: str) -> None:
    """Through placeholders of unknown shape, so that only the kernel can see the mistake."""
    inputs, feeds = make_inputs(CONFIG), {}

    def placeholder(array: np.ndarray) -> tf.Tensor:
        tensor = tf1.placeholder(array.dtype)
        feeds[tensor] = array
        return tensor

    with tf.Graph().as_default() as graph:
        layers = [LayerWeights(*map(placeholder, layer)) for layer in quantized.layers]
        lists = [placeholder(array) for array in quantized.amax_lists]
        with tf.device(device):
            output = fast_bert_quantized_encoder(
                inputs.hidden_states, inputs.sequence_length, layers, lists, quantization="int8_mode1", **CONFIG.attributes()
            )
        with new_session(graph) as session:
            session.run(output, feeds)


def raw(quantized: Quantized, mode: str) -> tf.Tensor:
    """The raw op, as an imported graph would use it."""
    inputs = make_inputs(CONFIG)
    columns = map(list, zip(*quantized.layers))
    return load_library().fast_bert_quantized_encoder(
        inputs.hidden_states, inputs.sequence_length, *columns, quantized.amax_lists, num_heads=2, size_per_head=32,
        quantization=mode,
    )  # fmt: skip


BAD_SHAPES: list[tuple[str, Callable[[Quantized], Quantized], str]] = [
    ("amax_list too short", lambda q: with_amax(q, 1, lambda a: a[:-1]), r"amax_list\[1\].*\[519\].*\[520\]"),
    ("amax_list of 9 H", lambda q: with_amax(q, 0, lambda a: np.ones(72 + 9 * 64 + 32, np.float32)), r"amax_list\[0\].*\[520\]"),
    ("int8 kernel", lambda q: with_weight(q, 1, key_kernel=np.zeros((64, 32), np.int8)), r"key_kernel.*\[64, ?64\]"),
    ("bias", lambda q: with_weight(q, 0, intermediate_bias=np.zeros(64, np.float32)), r"intermediate_bias.*96"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "spoil", "message"), BAD_SHAPES, ids=[name for name, _, _ in BAD_SHAPES])
def test_shapes(name: str, spoil: Callable[[Quantized], Quantized], message: str, device: str) -> None:
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        call(spoil(model()))
    with tf.Graph().as_default(), pytest.raises(ValueError, match="FastBertQuantizedEncoder: .*" + message):
        raw(spoil(model()), "int8_mode1")
    with pytest.raises(INVALID, match="FastBertQuantizedEncoder: .*" + message):
        run_with_unknown_shapes(spoil(model()), device)


def test_amax_lists_of_another_kind() -> None:
    with pytest.raises(ValueError, match="amax_lists has 1 entries.*2 layers"):
        call(model()._replace(amax_lists=model().amax_lists[:1]))
    with pytest.raises(ValueError, match=r"amax_lists\[1\] has shape \[1, \d+\], expected a vector"):
        call(with_amax(model(), 1, lambda a: a[None]))
    with pytest.raises(TypeError, match=r"amax_lists\[0\] is float64"):
        call(with_amax(model(), 0, lambda a: a.astype(np.float64)))
    with tf.Graph().as_default(), pytest.raises(ValueError, match=r"amax_list\[1\] has shape"):
        raw(with_amax(model(), 1, lambda a: a[None]), "int8_mode1")


def test_types_of_kernels(device: str) -> None:
    floats = quantize(make_inputs(CONFIG), "fp8")
    with pytest.raises(TypeError, match="layer 0's query_kernel is float32, but int8_mode2 takes int8 kernels"):
        call(floats, "int8_mode2")
    with pytest.raises(TypeError, match="layer 0's query_kernel is int8, but hidden_states is float32"):
        call(model(), "fp8")
    with pytest.raises(TypeError, match="layer 1's output_bias is int8"):
        call(with_weight(model(), 1, output_bias=np.zeros(64, np.int8)))
    with pytest.raises(ValueError, match="quantization is 'int4'"):
        call(model(), "int4")
    half = floats._replace(
        layers=[layer._replace(**{n: getattr(layer, n).astype(np.float16) for n in layer._fields if n.endswith("_kernel")})
                for layer in floats.layers]
    )  # fmt: skip
    for quantized, mode, message in [
        (floats, "int8_mode1", "kernels are float, but quantization = int8_mode1 takes int8 ones"),
        (half, "fp8", "kernels are half, but quantization = fp8 takes float ones, like hidden_states"),
    ]:
        with tf.Graph().as_default(), pytest.raises(ValueError, match="FastBertQuantizedEncoder: the " + message):
            raw(quantized, mode)
        with tf.device(device), pytest.raises(INVALID, match="FastBertQuantizedEncoder: the " + message):
            raw(quantized, mode)


@pytest.mark.parametrize("all_layers", [False, True])
def test_shape_inference(all_layers: bool) -> None:
    with tf.Graph().as_default():
        def holder(field: str) -> tf.Tensor:
            return tf1.placeholder(tf.int8 if field.endswith("_kernel") else tf.float16)

        layers = [LayerWeights(*map(holder, LayerWeights._fields)) for _ in range(3)]
        output = fast_bert_quantized_encoder(
            tf1.placeholder(tf.float16, [None, 7, None]), tf1.placeholder(tf.int32, [3]), layers,
            [tf1.placeholder(tf.float32) for _ in range(3)], quantization="int8_mode2", num_heads=2, size_per_head=32,
            all_layers=all_layers, name="encoder",
        )  # fmt: skip
        assert output.shape.as_list() == [3] * all_layers + [3, 7, 64]
        assert (output.op.type, output.op.name, output.dtype) == ("FastBertQuantizedEncoder", "encoder", tf.float16)


def test_gradient_is_refused() -> None:
    with tf.Graph().as_default():
        layers = [LayerWeights(*map(tf.constant, layer)) for layer in model().layers]
        hidden = tf.zeros([2, 5, 64])
        output = fast_bert_quantized_encoder(
            hidden, [5, 2], layers, model().amax_lists, quantization="int8_mode1", num_heads=2, size_per_head=32
        )
        with pytest.raises(NotImplementedError, match="FastBertQuantizedEncoder.*no gradient"):
            tf1.gradients(output, hidden)
