"""Bad inputs give one clear error each that names the culprit, in Python where shapes are known, from the kernel where not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import as_arrays, new_session
from tests.random_configs import Config, Inputs, make_inputs
from tf_fastbert.ops import LayerWeights, fast_bert_encoder, load_library

CONFIG = Config(seed=1, num_layers=2, num_heads=2, size_per_head=32, inner_size=96, batch=2, seq_len=5, lengths=(5, 2))
INVALID = tf.errors.InvalidArgumentError


def with_weight(inputs: Inputs, layer: int, **fields: np.ndarray) -> Inputs:
    layers = list(inputs.layers)
    layers[layer] = layers[layer]._replace(**fields)
    return inputs._replace(layers=layers)


# What to break, and what the message must contain.
BAD_SHAPES: list[tuple[str, Callable[[Inputs], Inputs], str]] = [
    ("hidden_states of rank 2", lambda i: i._replace(hidden_states=np.zeros((2, 64), np.float32)), r"hidden_states.*\[2, ?64\]"),
    ("hidden size", lambda i: i._replace(hidden_states=np.zeros((2, 5, 60), np.float32)), r"hidden_states.*\[2, ?5, ?60\].*64"),
    ("lengths of rank 0", lambda i: i._replace(sequence_length=np.int32(3)), r"sequence_length"),
    ("lengths of rank 3", lambda i: i._replace(sequence_length=np.ones((2, 5, 1), np.int32)), r"sequence_length.*\[2, ?5, ?1\]"),
    ("wrong batch", lambda i: i._replace(sequence_length=np.ones(3, np.int32)), r"sequence_length.*\[3\]"),
    ("mask too long", lambda i: i._replace(sequence_length=np.ones((2, 6), np.int32)), r"sequence_length.*\[2, ?6\]"),
    ("mask's batch", lambda i: i._replace(sequence_length=np.ones((1, 5), np.int32)), r"sequence_length.*\[1, ?5\]"),
    (
        "kernel",
        lambda i: with_weight(i, 1, key_kernel=np.zeros((64, 32), np.float32)),
        r"(1's key_kernel|key_kernel\[1\]).*\[64, ?64\]",
    ),
    (
        "kernel of rank 3",
        lambda i: with_weight(i, 0, value_kernel=np.zeros((64, 2, 32), np.float32)),
        r"value_kernel.*\[64, ?2, ?32\]",
    ),
    ("bias", lambda i: with_weight(i, 1, query_bias=np.zeros(65, np.float32)), r"(1's query_bias|query_bias\[1\]).*\[?64\]?"),
    ("gamma", lambda i: with_weight(i, 0, output_layer_norm_gamma=np.zeros(1, np.float32)), r"output_layer_norm_gamma"),
    ("inner sizes", lambda i: with_weight(i, 1, intermediate_kernel=np.zeros((64, 95), np.float32)), r"intermediate_kernel.*96"),
    ("inner bias", lambda i: with_weight(i, 1, intermediate_bias=np.zeros(64, np.float32)), r"intermediate_bias.*96"),
    ("output kernel", lambda i: with_weight(i, 0, output_kernel=np.zeros((64, 96), np.float32)), r"output_kernel.*\[96, ?64\]"),
]
NAMES = [name for name, _, _ in BAD_SHAPES]

BAD_LENGTHS = [
    ([5, 6], r"sequence_length\[1\] = 6.*seq_len = 5"),
    ([-1, 5], r"sequence_length\[0\] = -1"),
    ([2**31 - 1, 2**31 - 1], r"sequence_length\[0\] = 2147483647"),
    ([0, -(2**31)], r"sequence_length\[1\] = -2147483648"),
]


def call(inputs: Inputs, layers: list[LayerWeights] | None = None, **changes: Any) -> tf.Tensor:
    return fast_bert_encoder(
        inputs.hidden_states,
        inputs.sequence_length,
        as_arrays(inputs) if layers is None else layers,
        **{**CONFIG.attributes(), **changes},
    )


def run_with_unknown_shapes(inputs: Inputs, device: str) -> None:
    """Feeds everything through placeholders of unknown shape, so that only the kernel can see the mistake."""
    graph, feeds = tf.Graph(), {}

    def placeholder(array: Any) -> tf.Tensor:
        tensor = tf.compat.v1.placeholder(np.asarray(array).dtype)
        feeds[tensor] = array
        return tensor

    with graph.as_default():
        layers = [LayerWeights(*map(placeholder, layer)) for layer in inputs.layers]
        hidden, lengths = placeholder(inputs.hidden_states), placeholder(inputs.sequence_length)
        with tf.device(device):
            output = fast_bert_encoder(hidden, lengths, layers, **CONFIG.attributes())
        with new_session(graph) as session:
            session.run(output, feeds)


@pytest.mark.parametrize(("name", "spoil", "message"), BAD_SHAPES, ids=NAMES)
def test_shape_seen_in_python(name: str, spoil: Callable[[Inputs], Inputs], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(spoil(make_inputs(CONFIG)))


@pytest.mark.parametrize(("name", "spoil", "message"), BAD_SHAPES, ids=NAMES)
def test_shape_seen_by_the_shape_function(name: str, spoil: Callable[[Inputs], Inputs], message: str) -> None:
    """The raw op in a graph, as a C++ program or an imported graph would use it."""
    inputs = spoil(make_inputs(CONFIG))
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        load_library().fast_bert_encoder(
            inputs.hidden_states, inputs.sequence_length, *map(list, zip(*inputs.layers)), num_heads=2, size_per_head=32
        )


@pytest.mark.parametrize(("name", "spoil", "message"), BAD_SHAPES, ids=NAMES)
def test_shape_seen_by_the_kernel(name: str, spoil: Callable[[Inputs], Inputs], message: str, device: str) -> None:
    with pytest.raises(INVALID, match=message):
        run_with_unknown_shapes(spoil(make_inputs(CONFIG)), device)


@pytest.mark.parametrize(("lengths", "message"), BAD_LENGTHS)
def test_length_out_of_range(lengths: list[int], message: str, device: str) -> None:
    inputs = make_inputs(CONFIG)._replace(sequence_length=np.array(lengths, np.int32))
    with tf.device(device), pytest.raises(INVALID, match=message):
        call(inputs)
    with pytest.raises(INVALID, match=message):
        run_with_unknown_shapes(inputs, device)


def test_right_after_wrong(device: str) -> None:
    """An error leaves nothing behind."""
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        right = call(inputs).numpy()
        with pytest.raises(INVALID):
            call(inputs._replace(sequence_length=np.array([5, 6], np.int32)))
        np.testing.assert_array_equal(call(inputs).numpy(), right)


def test_wrong_dtypes() -> None:
    inputs = make_inputs(CONFIG)
    with pytest.raises(TypeError, match="hidden_states is float64"):
        call(inputs._replace(hidden_states=inputs.hidden_states.astype(np.float64)))
    with pytest.raises(TypeError, match="layer 1's output_bias is float16, but hidden_states is float32"):
        call(with_weight(inputs, 1, output_bias=inputs.layers[1].output_bias.astype(np.float16)))
    with pytest.raises(TypeError, match="sequence_length is float32"):
        call(inputs._replace(sequence_length=inputs.sequence_length.astype(np.float32)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_per_head": 31}, "size_per_head is 31"),
        ({"size_per_head": 130}, "size_per_head is 130"),
        ({"size_per_head": 0}, "size_per_head is 0"),
        ({"num_heads": 3}, "num_heads = 3"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"activation": "swish"}, "activation is 'swish'"),
        ({"layer_norm": "none"}, "layer_norm is 'none'"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"layers": []}, "layers is empty"),
    ],
)
def test_wrong_attributes(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(make_inputs(CONFIG), **changes)


@pytest.mark.parametrize("size_per_head", [31, 130])
def test_unsupported_head_size_in_a_raw_graph(size_per_head: int) -> None:
    inputs = make_inputs(CONFIG)
    with (
        tf.Graph().as_default(),
        pytest.raises((ValueError, NotImplementedError, tf.errors.UnimplementedError), match=str(size_per_head)),
    ):
        load_library().fast_bert_encoder(
            inputs.hidden_states,
            inputs.sequence_length,
            *map(list, zip(*inputs.layers)),
            num_heads=2,
            size_per_head=size_per_head,
        )


def test_layers_of_another_type() -> None:
    inputs = make_inputs(CONFIG)
    with pytest.raises(TypeError, match=r"layers\[0\] is a dict"):
        call(inputs, [layer._asdict() for layer in inputs.layers])  # type: ignore[misc]
