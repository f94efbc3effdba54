"""The reads of variables in front of the ops become one op in the graphs that TensorFlow runs, and nothing else changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import as_variables, new_session
from tests.random_configs import Config, Inputs, check_output, make_inputs
from tf_fastbert.ops import LayerWeights, fast_bert_encoder

CONFIG = Config(seed=41, num_layers=3, inner_size=80, batch=2, seq_len=5)
WEIGHTS = CONFIG.num_layers * len(LayerWeights._fields)
tf1 = tf.compat.v1


def tf1_variables(inputs: Inputs) -> list[LayerWeights]:
    return [
        LayerWeights(*[tf1.Variable(array, use_resource=True, name=name) for name, array in layer._asdict().items()])
        for layer in inputs.layers
    ]


def encode(inputs: Inputs, layers: list[LayerWeights]) -> Any:
    return fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())


def run_and_count(session: Any, fetches: Any) -> tuple[Any, Counter[str]]:
    """The fetches, and how often each type of op is in the graph that ran."""
    metadata = tf1.RunMetadata()
    result = session.run(fetches, options=tf1.RunOptions(output_partition_graphs=True), run_metadata=metadata)
    return result, Counter(node.op for graph in metadata.partition_graphs for node in graph.node)


def test_session(device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = tf1_variables(inputs)
            output = encode(inputs, layers)
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            got, ran = run_and_count(session, output)
            check_output(CONFIG, inputs, got)
            assert ran["FastBertReadVariables"] == 1 and ran["ReadVariableOp"] == 0 and ran["VarHandleOp"] == 0
            # The user's graph is not touched: tools that know TensorFlow's reads go on working on it.
            mine = Counter(op.type for op in graph.get_operations())
            assert mine["FastBertReadVariables"] == 0 and mine["ReadVariableOp"] >= WEIGHTS


def test_shared_and_fetched_reads(device: str) -> None:
    """Two encoders on the same reads, of which some are fetched and used elsewhere."""
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = [LayerWeights(*map(tf.convert_to_tensor, layer)) for layer in tf1_variables(inputs)]
            outputs = [encode(inputs, layers), encode(inputs, layers)]
            bias = layers[1].query_bias
            doubled = bias * 2
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            (first, second, fetched, twice), ran = run_and_count(session, [*outputs, bias, doubled])
    for got in (first, second):
        check_output(CONFIG, inputs, got)
    np.testing.assert_array_equal(fetched, inputs.layers[1].query_bias)
    np.testing.assert_array_equal(twice, inputs.layers[1].query_bias * 2)
    assert ran["FastBertReadVariables"] >= 1 and ran["ReadVariableOp"] == 0


def test_runs_of_a_session_that_read_different_variables(device: str) -> None:
    """A session keeps kernels by their nodes' names, from one run to all others; a read that is fed is not read."""
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = [LayerWeights(*map(tf.convert_to_tensor, layer)) for layer in tf1_variables(inputs)]
            output = encode(inputs, layers)
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            for fed in ("query_bias", "output_bias", "query_kernel", None):
                given = inputs.layers[0]
                if fed is not None:
                    given = given._replace(**{fed: getattr(given, fed) + 1})
                feeds = {} if fed is None else {getattr(layers[0], fed): getattr(given, fed)}
                got = session.run(output, feeds)
                check_output(CONFIG, inputs._replace(layers=[given, *inputs.layers[1:]]), got)


def test_variables_that_are_assigned_and_read(device: str) -> None:
    """Runs of one session in which others need the variables' handles, too, and runs in which nobody does."""
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = tf1_variables(inputs)
            output = encode(inputs, layers)
            assign = tf1.assign_add(layers[1].output_bias, tf.ones_like(inputs.layers[1].output_bias))
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            changed = [*inputs.layers]
            for _ in range(2):
                check_output(CONFIG, inputs._replace(layers=changed), session.run(output))
                session.run(assign)
                changed[1] = changed[1]._replace(output_bias=changed[1].output_bias + 1)
            got, ran = run_and_count(session, [output, layers[1].output_bias.read_value()])
    check_output(CONFIG, inputs._replace(layers=changed), got[0])
    np.testing.assert_array_equal(got[1], changed[1].output_bias)
    assert ran["FastBertReadVariables"] == 1 and ran["VarHandleOp"] == 1


@pytest.mark.parametrize("container", ["", "mine"])
def test_containers_and_shared_names(container: str, device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        with tf.device(device), graph.container(container):
            output = encode(inputs, tf1_variables(inputs))
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            got, ran = run_and_count(session, output)
    check_output(CONFIG, inputs, got)
    assert ran["FastBertReadVariables"] == 1 and ran["VarHandleOp"] == 0


def test_reads_around_an_assignment(device: str) -> None:
    """Reads before and after an assignment in one step stay apart: fused, they would wait for one another."""
    inputs = make_inputs(CONFIG)
    changed = [*inputs.layers]
    changed[0] = changed[0]._replace(query_bias=changed[0].query_bias + 1)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            layers = tf1_variables(inputs)
            before = tf.identity(layers[0].key_bias)
            with tf.control_dependencies([before]):
                assign = tf1.assign_add(layers[0].query_bias, tf.ones_like(inputs.layers[0].query_bias))
            late = [*layers]
            with tf.control_dependencies([assign]):
                late[0] = late[0]._replace(query_bias=layers[0].query_bias.read_value())
            late[0] = late[0]._replace(key_bias=before)
            output = encode(inputs, late)
        with new_session(graph, allow_soft_placement=True) as session:
            session.run(tf1.global_variables_initializer())
            got, ran = run_and_count(session, output)
    check_output(CONFIG, inputs._replace(layers=changed), got)
    assert ran["FastBertReadVariables"] >= 1


@pytest.mark.parametrize("body", ["while", "cond"])
def test_control_flow(body: str, device: str) -> None:
    """In a loop, and in a branch, of a tf.function; a variable is assigned in each turn."""
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        layers = as_variables(inputs)
        beta = layers[-1].output_layer_norm_beta

        @tf.function
        def loop(turns: tf.Tensor) -> tf.Tensor:
            output = tf.zeros_like(inputs.hidden_states)
            for _ in tf.range(turns):
                beta.assign_add(tf.ones_like(beta))
                output = tf.ensure_shape(encode(inputs, layers), output.shape)
            return output

        @tf.function
        def branch(turns: tf.Tensor) -> tf.Tensor:
            if turns > 0:
                beta.assign_add(tf.cast(turns, beta.dtype) * tf.ones_like(beta))
                output = encode(inputs, layers)
            else:
                output = tf.zeros_like(inputs.hidden_states)
            return output

        got = (loop if body == "while" else branch)(tf.constant(3)).numpy()
        assert not (loop if body == "while" else branch)(tf.constant(0)).numpy().any()
    changed = [*inputs.layers]
    changed[-1] = changed[-1]._replace(output_layer_norm_beta=changed[-1].output_layer_norm_beta + 3)
    check_output(CONFIG, inputs._replace(layers=changed), got)


@pytest.mark.parametrize("kind", ["read", "constant", "changed"])
def test_weights_from_outside_of_a_loop(kind: str, device: str) -> None:
    """What a loop's body captures is known to stay the same; what it changes from turn to turn is not."""
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        variables = as_variables(inputs)

        @tf.function
        def loop(turns: tf.Tensor) -> tf.Tensor:
            make = tf.constant if kind == "constant" else tf.identity
            layers = [LayerWeights(*map(make, layer)) for layer in (inputs.layers if kind == "constant" else variables)]
            output = tf.zeros_like(inputs.hidden_states)
            if kind != "changed":
                for _ in tf.range(turns):
                    output = tf.ensure_shape(encode(inputs, layers), output.shape)
                return output
            beta = layers[-1].output_layer_norm_beta
            for _ in tf.range(turns):
                beta += 1
                last = layers[-1]._replace(output_layer_norm_beta=beta)
                output = tf.ensure_shape(encode(inputs, [*layers[:-1], last]), output.shape)
            return output

        got = loop(tf.constant(3)).numpy()
        definition = loop.get_concrete_function(tf.TensorSpec([], tf.int32)).graph.as_graph_def()
    ops = [node for function in definition.library.function for node in function.node_def if node.op == "FastBertEncoder"]
    assert [op.attr["weights"].s.decode() for op in ops] == ["checked" if kind == "changed" else "immutable"]
    changed = [*inputs.layers]
    if kind == "changed":
        changed[-1] = changed[-1]._replace(output_layer_norm_beta=changed[-1].output_layer_norm_beta + 3)
    check_output(CONFIG, inputs._replace(layers=changed), got)


def test_function_runs_the_fused_op(device: str) -> None:
    from tensorflow.python.eager import context

    inputs = make_inputs(CONFIG)
    with tf.device(device):
        layers = as_variables(inputs)
        function = tf.function(lambda: encode(inputs, layers))
        context.enable_run_metadata()
        try:
            check_output(CONFIG, inputs, function().numpy())
            ran = Counter(node.op for graph in context.export_run_metadata().partition_graphs for node in graph.node)
        finally:
            context.disable_run_metadata()
    assert ran["FastBertEncoder"] >= 1
    assert ran["FastBertReadVariables"] == ran["FastBertEncoder"] and ran["ReadVariableOp"] == 0


def test_uninitialized_variable(device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        with tf.device(device):
            output = encode(inputs, tf1_variables(inputs))
        with new_session(graph, allow_soft_placement=True) as session:
            with pytest.raises(tf.errors.FailedPreconditionError, match="query_kernel.*initialized"):
                session.run(output)
