"""The patch's embeddings: what runs, that Google's tensors stay as they were, and where Google's code is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tf_fastbert
from tests.google_bert import (
    IDS,
    MASK_WITH_HOLES,
    PREFIX_MASK,
    bert_config,
    build,
    load,
    modeling,
    random_values,
    tf1,
)

__all__ = ["modeling", "tf1"]  # fixtures


def values_of(tf: Any, module: Any) -> dict[str, np.ndarray]:
    with tf.Graph().as_default():
        build(tf, module)
        return random_values(tf, tf.trainable_variables())


def executed(tf: Any, session: Any, fetch: Any) -> list[str]:
    """The types of the ops that a run executes."""
    metadata = tf.RunMetadata()
    session.run(fetch, options=tf.RunOptions(output_partition_graphs=True), run_metadata=metadata)
    return [node.op for graph in metadata.partition_graphs for node in graph.node]


@pytest.mark.parametrize("floatx", ["float32", "float16", "bfloat16"])
def test_two_ops_from_ids_to_the_last_layer(tf1: Any, modeling: Any, floatx: str) -> None:
    values = values_of(tf1, modeling)
    tf_fastbert.patch(modeling, floatx=floatx)
    with tf1.Graph().as_default(), tf1.Session() as session:
        model = build(tf1, modeling)
        load(tf1, session, values)
        reads = {"VariableV2", "VarHandleOp", "ReadVariableOp", "FastBertReadVariables"}
        passive = reads | {"Const", "Identity", "NoOp", "_Retval", "_Send", "_Recv"}
        ops = [op for op in executed(tf1, session, model.get_sequence_output()) if op not in passive]
        assert sorted(ops) == ["Cast"] * (floatx != "float32") + ["FastBertEmbedding", "FastBertEncoder"]
        # Variables of the type they are stored in: no casts of tables.
        (embedding,) = [op for op in session.graph.get_operations() if op.type == "FastBertEmbedding"]
        assert {tensor.dtype.base_dtype.name for tensor in embedding.inputs} == {"int32", floatx}


@pytest.mark.parametrize("mask", [PREFIX_MASK, MASK_WITH_HOLES], ids=["prefix", "holes"])
def test_googles_embedding_output_keeps_its_padding(tf1: Any, modeling: Any, mask: np.ndarray) -> None:
    def run() -> list[np.ndarray]:
        with tf1.Graph().as_default(), tf1.Session() as session:
            model = build(tf1, modeling, mask)
            load(tf1, session, values)
            # google-research/bert has no get_word_embedding_output.
            return session.run([model.get_embedding_output(), model.word_embedding_output])

    values = values_of(tf1, modeling)
    want = run()
    tf_fastbert.patch(modeling)
    for got, wanted in zip(run(), want):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("floatx", ["float32", "float16"])
def test_one_hot_gives_the_same(tf1: Any, modeling: Any, floatx: str) -> None:
    def run(use_one_hot_embeddings: bool) -> np.ndarray:
        with tf1.Graph().as_default(), tf1.Session() as session:
            model = modeling.BertModel(
                bert_config(modeling), False, tf1.constant(IDS, tf1.int32), tf1.constant(PREFIX_MASK, tf1.int32),
                use_one_hot_embeddings=use_one_hot_embeddings,
            )  # fmt: skip
            load(tf1, session, values)
            return session.run(model.get_sequence_output())

    values = values_of(tf1, modeling)
    tf_fastbert.patch(modeling, floatx=floatx)
    np.testing.assert_array_equal(run(True), run(False))


def test_assigned_tables_are_seen(tf1: Any, modeling: Any) -> None:
    values = values_of(tf1, modeling)
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default(), tf1.Session() as session:
        output = build(tf1, modeling).get_sequence_output()
        load(tf1, session, values)
        before = session.run(output)
        for variable in tf1.trainable_variables():
            if "/embeddings/" in variable.op.name:
                session.run(tf1.assign_add(variable, tf1.random_normal(variable.shape)))
                after = session.run(output)
                assert not np.array_equal(before, after), variable.op.name
                before = after


def test_training_and_code_outside_of_a_model_keep_googles_ops(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default() as graph:
        build(tf1, modeling, is_training=True)
        ids = tf1.constant(IDS, tf1.int32)
        with tf1.variable_scope("mine"):
            words, _ = modeling.embedding_lookup(ids, 60, 64)
            output = modeling.embedding_postprocessor(words, True, ids % 2, 2, dropout_prob=0.0, max_position_embeddings=16)
            output = modeling.transformer_model(
                output, None, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96,
                hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            )  # fmt: skip
        assert output.op.type == "FastBertEncoder"
        assert "FastBertEmbedding" not in {op.type for op in graph.get_operations()}


def test_a_custom_getter_of_a_users_own_is_honoured(tf1: Any, modeling: Any) -> None:
    """As with moving averages: the model uses what the getter gives in place of the variables."""

    def doubled(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        value = getter(name, *args, **kwargs)
        return value * 2.0 if "/embeddings/" in name and "word" not in name else value

    def run(custom_getter: Any) -> np.ndarray:
        with tf1.Graph().as_default(), tf1.Session() as session:
            with tf1.variable_scope("", custom_getter=custom_getter):
                model = build(tf1, modeling)
            load(tf1, session, values)
            return session.run(model.get_sequence_output())

    values = values_of(tf1, modeling)
    want = run(doubled)
    tf_fastbert.patch(modeling)
    got, plain = run(doubled), run(None)
    valid = PREFIX_MASK.astype(bool)
    np.testing.assert_allclose(got[valid], want[valid], atol=1e-4)
    assert np.abs(got - plain)[valid].max() > 1e-2


@pytest.mark.parametrize("bad", [60, -1])
def test_an_id_outside_of_the_vocabulary_is_named(tf1: Any, modeling: Any, bad: int) -> None:
    tf_fastbert.patch(modeling)
    ids = IDS.copy()
    ids[1, 3] = bad
    with tf1.Graph().as_default(), tf1.Session() as session:
        model = modeling.BertModel(bert_config(modeling), False, tf1.constant(ids, tf1.int32))
        session.run(tf1.global_variables_initializer())
        with pytest.raises(tf1.errors.InvalidArgumentError, match=rf"input_ids\[1,3\] = {bad}, .* 60 rows"):
            session.run(model.get_sequence_output())
