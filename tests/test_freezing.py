"""Frozen callables: the same results, no variables, and the weights known to be constant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tf_fastbert
from tests.google_bert import IDS, MASK_WITH_HOLES, bert_config, load, modeling, random_values, tf1
from tests.random_configs import Config, check_output, make_inputs
from tf_fastbert import freezing
from tf_fastbert.encoder import BertEncoder
from tf_fastbert.ops import LayerWeights, fast_bert_encoder

__all__ = ["modeling", "tf1"]  # fixtures

CONFIG = Config(seed=71, num_layers=2, batch=3, seq_len=9)


@pytest.fixture
def model() -> BertEncoder:
    return BertEncoder(make_inputs(CONFIG).layers, num_heads=CONFIG.num_heads)


def test_a_tf_function(model: BertEncoder) -> None:
    inputs = make_inputs(CONFIG)
    frozen = tf_fastbert.freeze(model.encode)
    check_output(CONFIG, inputs, frozen(inputs.hidden_states, inputs.sequence_length).numpy())
    by_name = frozen(sequence_length=inputs.sequence_length, hidden_states=inputs.hidden_states)
    check_output(CONFIG, inputs, by_name.numpy())
    model.layers[0].query_kernel.assign(model.layers[0].key_kernel)
    check_output(CONFIG, inputs, frozen(inputs.hidden_states, inputs.sequence_length).numpy())


def test_a_loaded_signature(model: BertEncoder, tmp_path: Path) -> None:
    inputs = make_inputs(CONFIG)
    tf.saved_model.save(model, str(tmp_path), signatures=model.encode)
    loaded = tf.saved_model.load(str(tmp_path))
    signature = loaded.signatures["serving_default"]
    features = {"hidden_states": tf.constant(inputs.hidden_states), "sequence_length": tf.constant(inputs.sequence_length)}
    want = signature(**features)
    got = tf_fastbert.freeze(signature)(**features)
    assert got.keys() == want.keys()
    for name in want:
        np.testing.assert_array_equal(got[name], want[name])


def test_wrong_arguments(model: BertEncoder) -> None:
    with pytest.raises(TypeError, match="expected a ConcreteFunction or a tf.function, not 3"):
        tf_fastbert.freeze(3)
    with pytest.raises(TypeError, match="no input_signature"):
        tf_fastbert.freeze(tf.function(lambda x: x))
    frozen = tf_fastbert.freeze(model.encode)
    with pytest.raises(TypeError, match="expected the arguments hidden_states, sequence_length; got 1 and mask"):
        frozen(tf.zeros([1, 1, 64]), mask=[1])
    with pytest.raises(TypeError, match="expected the arguments hidden_states, sequence_length; got 1"):
        frozen(tf.zeros([1, 1, 64]))
    hidden, lengths = tf.zeros([1, 1, 64]), tf.constant([1])
    for wrong in ((hidden, tf.constant([1.0])), (tf.zeros([1, 1, 64], tf.float64), lengths), (tf.zeros([1, 64]), lengths)):
        with pytest.raises((TypeError, ValueError, tf.errors.InvalidArgumentError)):
            frozen(*wrong)
    assert frozen(hidden.numpy(), [1]).shape == (1, 1, 64)
    in_a_function = tf.function(lambda hidden, lengths: frozen(hidden, lengths) + 1)
    np.testing.assert_array_equal(in_a_function(hidden, lengths), frozen(hidden, lengths) + 1)


@pytest.mark.parametrize("floatx", ["float32", "bfloat16"])
def test_a_session(tf1: Any, modeling: Any, floatx: str) -> None:
    tf_fastbert.patch(modeling, floatx=floatx)
    with tf1.Graph().as_default(), tf1.Session() as session:
        ids, mask = tf1.placeholder(tf1.int32, [None, None]), tf1.placeholder(tf1.int32, [None, None])
        bert = modeling.BertModel(bert_config(modeling), False, ids, mask)
        load(tf1, session, random_values(tf1, tf1.trainable_variables()))
        fetches = {"sequence": bert.get_sequence_output(), "others": [bert.get_pooled_output(), bert.get_embedding_table()]}
        want = session.run(fetches, {ids: IDS, mask: MASK_WITH_HOLES})
        frozen = tf_fastbert.freeze_session(session, fetches, [ids, mask])
        session.run(tf1.global_variables_initializer())
    got = frozen(IDS, MASK_WITH_HOLES)
    np.testing.assert_array_equal(got["sequence"], want["sequence"])
    for a, b in zip(got["others"], want["others"]):
        np.testing.assert_array_equal(a, b)


def test_weights_of_ref_variables_become_immutable() -> None:
    inputs = make_inputs(CONFIG)
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        layers = [LayerWeights(*[v1.Variable(array, use_resource=False) for array in layer]) for layer in inputs.layers]
        output = fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **CONFIG.attributes())
        assert output.op.get_attr("weights") == b"checked"
        session.run(v1.global_variables_initializer())
        check_output(CONFIG, inputs, freezing.freeze_session(session, output, [])())
        graph_def = v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), [output.op.name])
    (node,) = [node for node in freezing._with_immutable_weights(graph_def).node if node.op == "FastBertEncoder"]
    assert node.attr["weights"].s == b"immutable"
