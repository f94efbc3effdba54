"""run_squad's head as one op: what runs, what it gives, and which heads are left to Google's code."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tf_fastbert
from tests.google_bert import IDS, MASK_WITH_HOLES, PREFIX_MASK, bert_config, load, modeling, random_values, tf1

__all__ = ["modeling", "tf1"]  # fixtures

HEAD = {"MatMul", "_FusedMatMul", "_MklNativeFusedMatMul", "BiasAdd", "Transpose", "_MklTranspose", "Unpack", "SelectV2"}
LIMITS = {"float32": 2e-5, "float16": 2e-2, "bfloat16": 2e-1}


def script(tf: Any, modeling: types.ModuleType, change: Callable[[Any], Any] = lambda x: x, **changes: Any) -> types.ModuleType:
    """A module with a create_model that does as run_squad's does, but for: change(hidden states), and what `changes` say."""

    def create_model(bert_config, is_training, input_ids, input_mask, segment_ids, use_one_hot_embeddings):
        model = modeling.BertModel(bert_config, is_training, input_ids, input_mask, segment_ids, use_one_hot_embeddings)
        hidden = change(model.get_sequence_output())
        batch_size, seq_length, hidden_size = modeling.get_shape_list(hidden, expected_rank=3)
        weights = tf.get_variable("cls/squad/output_weights", [changes.get("rows", 2), hidden_size])
        bias = tf.get_variable("cls/squad/output_bias", [changes.get("rows", 2)])
        rows = changes.get("rows", 2)
        logits = tf.matmul(tf.reshape(hidden, [batch_size * seq_length, hidden_size]), weights, transpose_b=True)
        by_token = changes.get("shape", lambda dims: dims)([batch_size, seq_length, rows])
        logits = tf.reshape(tf.nn.bias_add(logits, bias), by_token)
        unstacked = tf.unstack(tf.transpose(logits, [2, 0, 1]), num=rows, axis=0)
        return (unstacked[1], unstacked[0]) if changes.get("swapped") else (unstacked[0], unstacked[1])

    module = types.ModuleType("my_run_squad")
    module.create_model = create_model
    return module


def run(tf: Any, modeling: Any, module: Any, values: Any = None, mask: np.ndarray = PREFIX_MASK, known: bool = True) -> Any:
    """The logits, the types of the ops that ran, and the variables' values."""
    with tf.Graph().as_default(), tf.Session() as session:
        shape = IDS.shape if known else (None, None)
        feeds = {name: tf.placeholder(tf.int32, shape, name) for name in ("input_ids", "input_mask", "segment_ids")}
        logits = module.create_model(bert_config(modeling), False, **feeds, use_one_hot_embeddings=False)
        values = random_values(tf, tf.trainable_variables()) if values is None else values
        load(tf, session, values)
        given = dict(zip(feeds.values(), (IDS, mask, IDS % 2)))
        metadata = tf.RunMetadata()
        got = session.run(logits, given, tf.RunOptions(output_partition_graphs=True), metadata)
        return got, [node.op for graph in metadata.partition_graphs for node in graph.node], values


@pytest.mark.parametrize("known", [True, False], ids=["known shapes", "unknown shapes"])
@pytest.mark.parametrize("mask", [PREFIX_MASK, MASK_WITH_HOLES], ids=["prefix", "holes"])
@pytest.mark.parametrize("floatx", ["float32", "float16", "bfloat16"])
def test_googles_head_is_one_op(tf1: Any, modeling: Any, floatx: str, mask: np.ndarray, known: bool) -> None:
    module = script(tf1, modeling)
    want, _, values = run(tf1, modeling, module, mask=mask, known=known)
    with tf_fastbert.patched(modeling, floatx=floatx, run_squad=module):
        got, ran, _ = run(tf1, modeling, module, values, mask, known)
    assert ran.count("FastBertSpanLogits") == 1 and not HEAD & set(ran) and "Cast" not in ran
    for logits, wanted in zip(got, want):
        assert np.all(logits[mask == 0] == -10000)
        np.testing.assert_allclose(logits[mask != 0], wanted[mask != 0], atol=LIMITS[floatx] * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["a layer more", "swapped", "three rows", "a shape that is not known"])
def test_other_heads_stay(tf1: Any, modeling: Any, kind: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "a layer more": {"change": tf1.tanh},
        "swapped": {"swapped": True},
        "three rows": {"rows": 3},
        "a shape that is not known": {"shape": lambda dims: tf1.placeholder_with_default(tf1.stack(dims), None)},
    }
    module = script(tf1, modeling, **changes[kind])
    want, _, values = run(tf1, modeling, module)
    with tf_fastbert.patched(modeling, run_squad=module):
        got, ran, _ = run(tf1, modeling, module, values)
    # A layer between the encoder and Google's head is no part of the head.
    assert ran.count("FastBertSpanLogits") == (kind == "a layer more")
    for logits, wanted in zip(got, want):
        assert np.all(logits[PREFIX_MASK == 0] == -10000)
        np.testing.assert_allclose(logits[PREFIX_MASK != 0], wanted[PREFIX_MASK != 0], atol=1e-4)


def test_a_layer_behind_the_head_stays(tf1: Any, modeling: Any) -> None:
    module = script(tf1, modeling)
    inner = module.create_model
    module.create_model = lambda bert_config, is_training, input_ids, input_mask, segment_ids, use_one_hot_embeddings: tuple(
        tf1.tanh(x) for x in inner(bert_config, is_training, input_ids, input_mask, segment_ids, use_one_hot_embeddings)
    )
    want, _, values = run(tf1, modeling, module)
    with tf_fastbert.patched(modeling, run_squad=module):
        got, ran, _ = run(tf1, modeling, module, values)
    assert "FastBertSpanLogits" not in ran and "Tanh" in ran
    for logits, wanted in zip(got, want):
        np.testing.assert_allclose(logits[PREFIX_MASK != 0], wanted[PREFIX_MASK != 0], atol=1e-4)


def test_resource_variables(tf1: Any, modeling: Any) -> None:
    module = script(tf1, modeling)
    tf1.enable_resource_variables()
    try:
        want, _, values = run(tf1, modeling, module)
        with tf_fastbert.patched(modeling, run_squad=module):
            got, ran, _ = run(tf1, modeling, module, values)
    finally:
        tf1.disable_resource_variables()
    assert ran.count("FastBertSpanLogits") == 1 and not HEAD & set(ran)
    np.testing.assert_allclose(got[0][PREFIX_MASK != 0], want[0][PREFIX_MASK != 0], atol=1e-4)


def test_training_keeps_googles_head(tf1: Any, modeling: Any) -> None:
    module = script(tf1, modeling)
    with tf_fastbert.patched(modeling, run_squad=module), tf1.Graph().as_default() as graph:
        ids = tf1.constant(IDS, tf1.int32)
        config = bert_config(modeling, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        start, _ = module.create_model(config, True, ids, tf1.constant(PREFIX_MASK, tf1.int32), ids % 2, False)
        assert "FastBertSpanLogits" not in {op.type for op in graph.get_operations()}
        assert all(gradient is not None for gradient in tf1.gradients(start, tf1.trainable_variables(r".*squad.*|.*layer_1.*")))
