"""FastBertQuantizedEncoder: results, ranges that change, and what it refuses in Python, in the shape function, in the kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import random_configs
from tests.op_runner import new_session
from tests.quantized_configs import ACTIVATIONS, Quantized, expected_output, quantize
from tests.random_configs import Config, Inputs, make_inputs
from tf_fastbert.ops import LayerWeights, fast_bert_quantized_encoder, load_library

CONFIG = Config(seed=1, num_layers=2, num_heads=2, size_per_head=32, inner_size=96, batch=2, seq_len=5, lengths=(5, 2))
INVALID = tf.errors.InvalidArgumentError
tf1 = tf.compat.v1


def model(mode: str = "int8_mode1") -> Quantized:
    return quantize(CONFIG, make_inputs(CONFIG), mode)


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


def run(config: Config, inputs: Inputs, quantized: Quantized, mode: str, device: str) -> np.ndarray:
    """With variables, as a model has them."""
    with tf.device(device):
        layers = [LayerWeights(*map(tf.Variable, layer)) for layer in quantized.layers]
        output = fast_bert_quantized_encoder(
            inputs.hidden_states, inputs.sequence_length, layers, quantized.amax_lists, quantization=mode, **config.attributes()
        )
    return output.numpy().astype(np.float64)


def relative_error(output: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(output - want) / np.linalg.norm(want))


# After three layers. Attention may run in bfloat16, and where a value is near the middle between two steps, the smallest difference
# decides which it becomes. Mode 2's limit lets a backend quantize more than the products' inputs.
LIMITS = {"int8_mode1": 3e-2, "int8_mode2": 1e-1}


@pytest.mark.parametrize("mode", LIMITS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("size_per_head", [32, 64])
def test_results(size_per_head: int, dtype: str, mode: str, device: str) -> None:
    config = Config(
        seed=3, num_layers=3, num_heads=2, size_per_head=size_per_head, inner_size=256, batch=4, seq_len=37, mask="holes",
        dtype=dtype, padding=float("nan"),
    )  # fmt: skip
    inputs = make_inputs(config)
    quantized = quantize(config, inputs, mode)
    output = run(config, inputs, quantized, mode, device)
    assert not output[~inputs.mask()].any()
    assert relative_error(output, expected_output(config, inputs, quantized)) < LIMITS[mode]


@pytest.mark.parametrize("remove_padding", [True, False])
@pytest.mark.parametrize("layer_norm", ["post", "pre"])
@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu_erf", "relu"])
def test_options(activation: str, layer_norm: str, remove_padding: bool, device: str) -> None:
    config = Config(
        seed=4, num_layers=2, num_heads=3, size_per_head=32, inner_size=96, batch=3, seq_len=11, activation=activation,
        layer_norm=layer_norm, remove_padding=remove_padding, all_layers=True,
    )  # fmt: skip
    inputs = make_inputs(config)
    quantized = quantize(config, inputs, "int8_mode1")
    output = run(config, inputs, quantized, "int8_mode1", device)
    assert relative_error(output, expected_output(config, inputs, quantized)) < LIMITS["int8_mode1"]


def test_fp8_is_close_to_the_float_model(device: str) -> None:
    """Where there is no FP8, a backend may compute in more precision."""
    config = Config(seed=5, num_layers=2, num_heads=2, size_per_head=64, inner_size=512, batch=3, seq_len=20, dtype="float16")
    inputs = make_inputs(config)
    quantized = quantize(config, inputs, "fp8")
    try:
        output = run(config, inputs, quantized, "fp8", device)
    except tf.errors.UnimplementedError as error:
        assert "fp8" in error.message.lower(), error.message
        return
    assert relative_error(output, random_configs.expected_output(config, inputs)) < 1e-1


# ----------------------------------------------------------------------------------------------------
# Ranges
# ----------------------------------------------------------------------------------------------------


def wider(quantized: Quantized, layer: int, field: str, factor: float) -> Quantized:
    """With another range for one activation: other products, and another amaxList."""
    ranges = [dict(of_layer) for of_layer in quantized.ranges]
    ranges[layer][field] *= factor
    slot = 4 * ACTIVATIONS.index(field)
    lists = [array.copy() for array in quantized.amax_lists]
    lists[layer][slot] *= factor
    return quantized._replace(ranges=ranges, amax_lists=lists)


@pytest.mark.parametrize("kind", ["resource", "ref", "array"])
def test_assigned_ranges_are_seen(kind: str, device: str) -> None:
    """Back and forth between ranges, with weights that stay the same."""
    inputs = make_inputs(CONFIG)
    quantized = model()
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = [LayerWeights(*[tf1.Variable(a, use_resource=True) for a in layer]) for layer in quantized.layers]
        with tf.device("/CPU:0"):
            if kind == "array":
                lists = [tf1.placeholder(tf.float32, array.shape) for array in quantized.amax_lists]
            else:
                lists = [tf1.Variable(array, use_resource=kind == "resource") for array in quantized.amax_lists]
                value = tf1.placeholder(tf.float32, quantized.amax_lists[0].shape)
                assigns = [tf1.assign(variable, value).op for variable in lists]
        with tf.device(device):
            output = fast_bert_quantized_encoder(
                inputs.hidden_states, inputs.sequence_length, layers, lists, quantization="int8_mode1", **CONFIG.attributes()
            )
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            fed = [array.copy() for array in quantized.amax_lists]

            def check(now: Quantized) -> np.ndarray:
                for index, array in enumerate(now.amax_lists):
                    if kind == "array":
                        fed[index][...] = array
                    else:
                        session.run(assigns[index], {value: array})
                result = session.run(output, dict(zip(lists, fed)) if kind == "array" else {})
                # Coarser activations: the reference follows them.
                assert relative_error(result, expected_output(CONFIG, inputs, now)) < 5e-2
                return result

            first = check(quantized)
            for layer, field in [(0, "attention_input"), (1, "context"), (1, "intermediate_input"), (0, "output_input")]:
                changed = check(wider(quantized, layer, field, 3.0))
                assert not np.array_equal(changed, first), field
                np.testing.assert_array_equal(check(quantized), first)


def test_two_models_with_the_same_kernels(device: str) -> None:
    """Eager kernels are shared: ranges are part of what tells two models apart."""
    inputs, quantized = make_inputs(CONFIG), model()
    with tf.device(device):
        layers = [LayerWeights(*map(tf.Variable, layer)) for layer in quantized.layers]
    models = [quantized, wider(quantized, 0, "context", 3.0)]
    with tf.device("/CPU:0"):
        variables = [[tf.Variable(array) for array in one.amax_lists] for one in models]
    for _ in range(2):
        for one, lists in zip(models, variables):
            with tf.device(device):
                output = fast_bert_quantized_encoder(
                    inputs.hidden_states, inputs.sequence_length, layers, lists, quantization="int8_mode1", **CONFIG.attributes()
                )
            assert relative_error(output.numpy(), expected_output(CONFIG, inputs, one)) < 5e-2


BAD_RANGES = [
    (0, 0, float("nan"), r"amax_list\[0\]: the range of attention/self/query/input_quantizer is nan"),
    (1, 4 * 9, 0.0, r"amax_list\[1\]: the range of attention/output/dense/input_quantizer is 0"),
    (1, 4 * 15, -1.5, r"amax_list\[1\]: the range of the next layer's attention/self/query/input_quantizer is -1.5"),
    (0, 72, float("inf"), r"amax_list\[0\]: the range of attention/self/query/kernel_quantizer, channel 0, is inf"),
    (0, 72 + 4 * 64 + 95, 0.0, r"amax_list\[0\]: the range of intermediate/dense/kernel_quantizer, channel 95, is 0"),
    (1, 72 + 5 * 64 + 96 - 1, 0.0, r"amax_list\[1\]: the range of output/dense/kernel_quantizer, channel 63, is 0"),
]


@pytest.mark.parametrize(("layer", "index", "value", "message"), BAD_RANGES)
def test_bad_ranges(layer: int, index: int, value: float, message: str, device: str) -> None:
    with tf.device(device):
        with pytest.raises(INVALID, match="FastBertQuantizedEncoder: " + message):
            call(with_range(model(), layer, index, value))
        assert np.isfinite(call(model()).numpy()).all()


# ----------------------------------------------------------------------------------------------------
# What is refused
# ----------------------------------------------------------------------------------------------------

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
    floats = quantize(CONFIG, make_inputs(CONFIG), "fp8")
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
