"""Prepared weights never go stale: variables are changed between two runs in every way TensorFlow has."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import as_arrays, as_variables, new_session, run_op
from tests.random_configs import Config, Inputs, check_output, make_inputs
from tf_fastbert.ops import LayerWeights, fast_bert_encoder

CONFIG = Config(seed=31, num_layers=2, inner_size=80, batch=3, seq_len=7)
tf1 = tf.compat.v1


def scaled(inputs: Inputs, layer: int, field: str, factor: float) -> Inputs:
    """The inputs with one weight multiplied."""
    layers = list(inputs.layers)
    weight = getattr(layers[layer], field)
    layers[layer] = layers[layer]._replace(**{field: (weight.astype(np.float32) * factor).astype(weight.dtype)})
    return inputs._replace(layers=layers)


def weights_attribute(graph: tf.Graph | Any) -> list[str]:
    return [op.get_attr("weights").decode() for op in graph.get_operations() if op.type == "FastBertEncoder"]


# A big kernel, a bias, a LayerNorm weight, the last tensor: whether or not a backend copies them.
CHANGED = [(0, "query_kernel"), (1, "intermediate_bias"), (0, "attention_layer_norm_gamma"), (1, "output_layer_norm_beta")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("update", ["assign", "add", "sparse"])
def test_tf1_variable(use_resource: bool, update: str, dtype: str, device: str) -> None:
    config = dataclasses.replace(CONFIG, dtype=dtype)
    inputs = make_inputs(config)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = [
                LayerWeights(
                    *[tf1.Variable(array, use_resource=use_resource, name=name) for name, array in layer._asdict().items()]
                )
                for layer in inputs.layers
            ]
            output = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **config.attributes())
        assert weights_attribute(graph) == ["immutable" if use_resource else "checked"]
        updates: list[tf.Operation] = []
        for layer, field in CHANGED:
            variable, old = getattr(layers[layer], field), getattr(inputs.layers[layer], field)
            inputs = scaled(inputs, layer, field, 1.5)
            new = getattr(inputs.layers[layer], field)
            with tf.device(device):
                if update == "assign":
                    updates.append(tf1.assign(variable, new))
                elif update == "add":
                    updates.append(tf1.assign_add(variable, new - old))
                else:
                    updates.append(tf1.scatter_update(variable, np.arange(len(new)), new))
        # Not all of TensorFlow's ref variable ops exist on a GPU.
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            first = session.run(output)
            np.testing.assert_array_equal(session.run(output), first)
            for operation in updates:
                previous = session.run(output)
                session.run(operation)
                assert not np.array_equal(session.run(output), previous)
            # assign_add rounds its sum: compare with what the variables now hold.
            now = [type(inputs.layers[0])(*values) for values in session.run([tuple(layer) for layer in layers])]
            check_output(config, inputs._replace(layers=now), session.run(output))


@pytest.mark.parametrize("update", ["assign", "assign_add", "scatter_nd_update"])
@pytest.mark.parametrize("in_function", [False, True], ids=["eager", "function"])
def test_tf2_variable(in_function: bool, update: str, device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        layers = as_variables(inputs)

        def encode() -> tf.Tensor:
            return fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())

        encode = tf.function(encode) if in_function else encode
        check_output(CONFIG, inputs, encode().numpy())
        if in_function:
            assert weights_attribute(encode.get_concrete_function().graph) == ["immutable"]
        for layer, field in CHANGED:
            variable = getattr(layers[layer], field)
            inputs = scaled(inputs, layer, field, 2.0)
            new = getattr(inputs.layers[layer], field)
            if update == "assign":
                variable.assign(new)
            elif update == "assign_add":
                variable.assign_add(new / 2)  # new - new / 2, exactly
            else:
                variable.scatter_nd_update(np.arange(len(new))[:, None], new)
            check_output(CONFIG, inputs, encode().numpy())
        # Back and forth between two sets of values.
        for factor in (0.5, 2.0, 0.5):
            inputs = scaled(inputs, 0, "output_kernel", factor)
            layers[0].output_kernel.assign(inputs.layers[0].output_kernel)
            check_output(CONFIG, inputs, encode().numpy())


def test_training_loop_in_a_function(device: str) -> None:
    """The op reads variables before and after an update in the same tf.function."""
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        layers = as_variables(inputs)

        @tf.function
        def step() -> tuple[tf.Tensor, tf.Tensor]:
            before = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())
            layers[1].query_kernel.assign_add(layers[1].query_kernel)
            return before, fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())

        for _ in range(3):
            before, after = step()
            check_output(CONFIG, inputs, before.numpy())
            inputs = scaled(inputs, 1, "query_kernel", 2.0)
            check_output(CONFIG, inputs, after.numpy())


def test_arrays_overwritten_in_place(device: str) -> None:
    """NumPy arrays may share their memory with the tensors."""
    inputs = make_inputs(CONFIG)
    for _ in range(3):
        check_output(CONFIG, inputs, run_op(CONFIG, inputs, device, as_arrays(inputs)))
        for layer, field in CHANGED:
            getattr(inputs.layers[layer], field)[...] *= 1.25


def test_overwritten_while_prepared(device: str) -> None:
    """Ref variables that change between hashing and packing, and then change back: what was packed is not used again."""
    config = Config(seed=32, num_layers=4, num_heads=4, size_per_head=64, inner_size=512, batch=1, seq_len=4, lengths=(4,))
    inputs = make_inputs(config)
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = [LayerWeights(*[tf1.Variable(array, use_resource=False) for array in layer]) for layer in inputs.layers]
            output = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **config.attributes())
            value = tf1.placeholder(tf.float32, [256])
            beta = layers[-1].output_layer_norm_beta  # the output moves as much as it does
            assign = tf1.assign(beta, value).op
        with new_session(graph) as session:
            session.run(tf1.global_variables_initializer())
            original = inputs.layers[-1].output_layer_norm_beta
            expected = session.run(output)
            for turn in range(1, 41):
                session.run(assign, {value: original + turn})
                reader = threading.Thread(target=session.run, args=(output,))
                reader.start()
                time.sleep(rng.uniform(0, 0.01))
                session.run(assign, {value: original - 99})
                reader.join()
                session.run(assign, {value: original + turn})
                np.testing.assert_allclose(session.run(output), expected + turn, atol=1e-3)


def test_one_number_changed(device: str) -> None:
    """In any tensor, at any place."""
    inputs = make_inputs(CONFIG)
    layers = as_arrays(inputs)
    rng = np.random.default_rng(0)
    previous = run_op(CONFIG, inputs, device, layers)
    for index in range(3 * len(LayerWeights._fields)):
        array = layers[index % 2][index % len(LayerWeights._fields)]
        array[tuple(rng.integers(size) for size in array.shape)] += 0.5
        output = run_op(CONFIG, inputs, device, layers)
        # A key's bias moves all scores of a row alike, which changes nothing but the rounding.
        if LayerWeights._fields[index % len(LayerWeights._fields)] != "key_bias":
            assert not np.array_equal(output, previous), LayerWeights._fields[index % len(LayerWeights._fields)]
        previous = output
    check_output(CONFIG, inputs, previous)


def test_fed_arrays_overwritten_in_place(device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        holders = [[tf1.placeholder(array.dtype, array.shape) for array in layer] for layer in inputs.layers]
        with tf.device(device):
            layers = [LayerWeights(*holder) for holder in holders]
            output = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())
        assert weights_attribute(graph) == ["checked"]
        with new_session(graph) as session:
            for _ in range(3):
                feeds = {holder: array for column, layer in zip(holders, inputs.layers) for holder, array in zip(column, layer)}
                check_output(CONFIG, inputs, session.run(output, feeds))
                for layer, field in CHANGED:
                    getattr(inputs.layers[layer], field)[...] *= 1.25


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy whose memory TensorFlow uses where it is, if it can: it asks for multiples of 64."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_array_fed_in_place_of_a_constant(device: str) -> None:
    inputs = make_inputs(CONFIG)
    fed = aligned_copy(inputs.layers[0].query_kernel)
    inputs.layers[0] = inputs.layers[0]._replace(query_kernel=fed)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = [LayerWeights(*map(tf.constant, layer)) for layer in inputs.layers]
            output = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())
        assert weights_attribute(graph) == ["immutable"]
        with new_session(graph) as session:
            for _ in range(3):
                check_output(CONFIG, inputs, session.run(output, {layers[0].query_kernel: fed}))
                fed *= 1.5


def test_variable_that_shares_memory_with_an_array(device: str) -> None:
    inputs = make_inputs(CONFIG)
    shared = aligned_copy(inputs.layers[0].query_kernel)
    with tf.device(device):
        layers = as_variables(inputs)
        layers[0].query_kernel.assign(tf.experimental.dlpack.from_dlpack(shared.__dlpack__()))
    for _ in range(3):
        # What the variable holds, whether or not it is still the array's memory (on a GPU it is not).
        now = inputs.layers[0]._replace(query_kernel=layers[0].query_kernel.numpy())
        check_output(CONFIG, inputs._replace(layers=[now, inputs.layers[1]]), run_op(CONFIG, inputs, device, layers))
        shared *= 1.5


def test_many_models_on_one_eager_kernel(device: str) -> None:
    """More sets of weights than are kept, in turn, some of which change."""
    all_inputs = [make_inputs(dataclasses.replace(CONFIG, seed=100 + i)) for i in range(7)]
    with tf.device(device):
        models = [as_variables(inputs) for inputs in all_inputs]
    for turn in range(3):
        for index, layers in enumerate(models):
            if index == turn:
                all_inputs[index] = scaled(all_inputs[index], 0, "key_kernel", 3.0)
                layers[0].key_kernel.assign(all_inputs[index].layers[0].key_kernel)
            inputs = all_inputs[index]
            check_output(CONFIG, inputs, run_op(CONFIG, inputs, device, layers))


def test_weights_freed_and_made_again(device: str) -> None:
    """A new variable may get the address of one that was freed."""
    for seed in range(12):
        config = dataclasses.replace(CONFIG, seed=200 + seed)
        inputs = make_inputs(config)
        check_output(config, inputs, run_op(config, inputs, device))


def _as_read(v: Any) -> tf.Tensor:
    return tf.identity(tf.stop_gradient(v))


def _as_cast(v: Any) -> tf.Tensor:
    return tf.cast(tf.cast(v, tf.float64), tf.float32)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (tf.constant, "immutable"),
        (lambda array: _as_read(tf1.Variable(array, use_resource=True)), "immutable"),
        (lambda array: _as_read(tf1.Variable(array, use_resource=False)), "checked"),
        (lambda array: _as_cast(tf1.Variable(array, use_resource=True)), "checked"),
        (lambda array: tf1.placeholder_with_default(array, array.shape), "checked"),
        (lambda array: tf1.placeholder_with_default(array, None), "checked"),
    ],
    ids=["constant", "identity of resource", "identity of ref", "cast", "placeholder", "unknown shape"],
)
def test_which_producers_are_trusted(make: Callable[[np.ndarray], Any], expected: str, device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = [LayerWeights(*map(make, layer)) for layer in inputs.layers]
            output = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())
        assert weights_attribute(graph) == [expected]
        with new_session(graph) as session:
            session.run(tf1.global_variables_initializer())
            for _ in range(2):
                check_output(CONFIG, inputs, session.run(output))


def test_one_untrusted_weight_is_enough() -> None:
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        layers = [LayerWeights(*map(tf.constant, layer)) for layer in inputs.layers]
        layers[1] = layers[1]._replace(output_bias=tf1.placeholder(tf.float32, [64]))
        fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())
        assert weights_attribute(graph) == ["checked"]


def test_tensors_captured_by_a_function(device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        layers = [LayerWeights(*map(tf.constant, layer)) for layer in inputs.layers]
        encode = tf.function(
            lambda: fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())
        )
        assert weights_attribute(encode.get_concrete_function().graph) == ["checked"]
        check_output(CONFIG, inputs, encode().numpy())
