"""The patch: Google's graph with and without it on the same weights; what it leaves alone; what it refuses."""

from __future__ import annotations

import functools
import gc
import threading
import types
import weakref
from pathlib import Path
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
    import_copy,
    import_script,
    load,
    modeling,
    random_values,
    tf1,
    write_checkpoint,
)

__all__ = ["modeling", "tf1"]  # fixtures

# Largest absolute difference from the stock float32 graph, with outputs of unit scale after each LayerNorm.
LIMITS = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1.5e-1}


def run_model(tf: Any, module: types.ModuleType, values: dict, mask: np.ndarray = PREFIX_MASK, **changes: Any) -> dict[str, Any]:
    with tf.Graph().as_default(), tf.Session() as session:
        model = build(tf, module, mask, **changes)
        fetches = {
            "sequence": model.get_sequence_output(),
            "pooled": model.get_pooled_output(),
            "layers": model.get_all_encoder_layers(),
            "embedding": model.get_embedding_output(),
            "table": model.get_embedding_table(),
        }
        load(tf, session, values)
        return session.run(fetches)


@functools.cache
def stock_values(tf: Any, module: types.ModuleType) -> dict[str, np.ndarray]:
    with tf.Graph().as_default():
        build(tf, module)
        return random_values(tf, tf.trainable_variables())


@functools.cache
def stock_results(tf: Any, module: types.ModuleType, mask: bytes) -> dict[str, Any]:
    return run_model(tf, module, stock_values(tf, module), np.frombuffer(mask, PREFIX_MASK.dtype).reshape(PREFIX_MASK.shape))


@pytest.mark.parametrize("mask", [PREFIX_MASK, MASK_WITH_HOLES], ids=["prefix", "holes"])
@pytest.mark.parametrize("floatx", ["float32", "float16", "bfloat16"])
def test_same_results_as_the_stock_graph(tf1: Any, modeling: Any, floatx: str, mask: np.ndarray) -> None:
    values = stock_values(tf1, modeling)
    want = stock_results(tf1, modeling, mask.tobytes())
    tf_fastbert.patch(modeling, floatx=floatx)
    got = run_model(tf1, modeling, values, mask)
    valid = mask.astype(bool)
    for name in ("pooled", "embedding", "table"):
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], want[name], atol=LIMITS[floatx], err_msg=name)
    assert isinstance(got["layers"], list) and len(got["layers"]) == 2
    for index, (layer, wanted) in enumerate(zip([*got["layers"], got["sequence"]], [*want["layers"], want["sequence"]])):
        assert layer.dtype == np.float32
        np.testing.assert_allclose(layer[valid], wanted[valid], atol=LIMITS[floatx], err_msg=f"layer {index}")
        assert not layer[~valid].any(), "padding rows must be zero"


@pytest.mark.parametrize("options", [{"remove_padding": False}, {"precision": "tf32"}], ids=str)
def test_options_do_not_change_the_result(tf1: Any, modeling: Any, options: dict) -> None:
    values = stock_values(tf1, modeling)
    want = stock_results(tf1, modeling, PREFIX_MASK.tobytes())["pooled"]
    tf_fastbert.patch(modeling, **options)
    np.testing.assert_allclose(run_model(tf1, modeling, values)["pooled"], want, atol=1e-4)


@pytest.mark.parametrize("hidden_act", ["relu", "gelu_erf"])
def test_other_activations(tf1: Any, modeling: Any, hidden_act: str) -> None:
    values = stock_values(tf1, modeling)
    tf_fastbert.patch(modeling)
    got = run_model(tf1, modeling, values, hidden_act=hidden_act)["sequence"]
    act = modeling.get_activation(hidden_act)
    tf_fastbert.unpatch(modeling)
    want = run_model(tf1, modeling, values, hidden_act=act)["sequence"]
    valid = PREFIX_MASK.astype(bool)
    np.testing.assert_allclose(got[valid], want[valid], atol=1e-4)


@pytest.mark.parametrize("hidden_act, named", [("tanh", "tanh"), ("linear", "None (linear)"), (lambda x: x, "lambda")])
def test_an_unsupported_activation_is_named(tf1: Any, modeling: Any, hidden_act: Any, named: str) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default(), pytest.raises(ValueError, match="gelu, gelu_erf, relu") as error:
        build(tf1, modeling, hidden_act=hidden_act)
    assert named in str(error.value)


@pytest.mark.parametrize("floatx", ["float32", "float16"])
def test_variables_are_googles(tf1: Any, modeling: Any, floatx: str) -> None:
    def describe() -> tuple[list, list]:
        with tf1.Graph().as_default():
            build(tf1, modeling)
            return (
                [(v.op.name, v.shape.as_list()) for v in tf1.trainable_variables()],
                sorted(v.op.name for v in tf1.get_collection(tf1.GraphKeys.MODEL_VARIABLES)),
            )

    want = describe()
    tf_fastbert.patch(modeling, floatx=floatx)
    assert describe() == want
    with tf1.Graph().as_default():
        build(tf1, modeling)
        assert {v.dtype.base_dtype.name for v in tf1.global_variables()} == {floatx}


def test_initial_values_are_distributed_as_googles(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default(), tf1.Session() as session:
        build(tf1, modeling)
        session.run(tf1.global_variables_initializer())
        values = {v.op.name: session.run(v) for v in tf1.trainable_variables()}
    kernel = values["bert/encoder/layer_0/intermediate/dense/kernel"]
    assert 0.15 < kernel.std() < 0.2 and abs(kernel).max() <= 0.4  # truncated normal of 0.2
    assert not values["bert/encoder/layer_0/output/dense/bias"].any()
    assert (values["bert/encoder/layer_0/output/LayerNorm/gamma"] == 1).all()


def test_reuse_gives_the_same_variables(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default():
        build(tf1, modeling)
        names = [v.op.name for v in tf1.trainable_variables()]
        with tf1.variable_scope(tf1.get_variable_scope(), reuse=True):
            modeling.BertModel(bert_config(modeling), False, tf1.constant(IDS, tf1.int32), scope="bert")
        assert [v.op.name for v in tf1.trainable_variables()] == names


def test_two_models_in_one_graph_have_their_own_variables(tf1: Any, modeling: Any) -> None:
    for floatx in ("float32", "float16"):
        tf_fastbert.patch(modeling, floatx=floatx)
        with tf1.Graph().as_default():
            build(tf1, modeling)
            build(tf1, modeling)
            assert {v.op.name.split("/")[0] for v in tf1.trainable_variables()} == {"bert", "bert_1"}


def count_ops(tf: Any) -> int:
    return sum(op.type == "FastBertEncoder" for op in tf.get_default_graph().get_operations())


def test_all_layers_cost_nothing_until_asked_for(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default():
        model = build(tf1, modeling, num_hidden_layers=3)
        model.get_sequence_output()
        assert count_ops(tf1) == 1
        layers = model.all_encoder_layers
        assert len(layers) == 3 and layers[-1] is layers[2] is model.get_sequence_output()
        assert count_ops(tf1) == 1
        with pytest.raises(IndexError):
            layers[3]
    # The graph is no longer the default one; the op still goes into it, once.
    first = layers[0]
    assert first.graph is model.get_sequence_output().graph and first.op.name.startswith("bert/encoder/")
    with first.graph.as_default():
        assert count_ops(tf1) == 2
        assert layers[-2:][0] is layers[1] and len(list(layers)) == 3
        assert len(model.get_all_encoder_layers()) == 3
        assert count_ops(tf1) == 2


def test_without_do_return_all_layers_the_result_is_a_tensor(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default():
        output = modeling.transformer_model(
            tf1.zeros([2, 5, 64]), None, 64, 2, 4, 128, hidden_dropout_prob=0.0, attention_probs_dropout_prob=None
        )
        assert output.shape.as_list() == [2, 5, 64] and count_ops(tf1) == 1


def snapshot(module: types.ModuleType) -> dict[str, Any]:
    return {**vars(module), **{f"BertModel.{name}": value for name, value in vars(module.BertModel).items()}}


@pytest.mark.parametrize("floatx", ["float32", "float16"])
def test_unpatch_restores_every_attribute(tf1: Any, modeling: Any, floatx: str) -> None:
    before = snapshot(modeling)
    tf_fastbert.patch(modeling, floatx=floatx)
    assert modeling.transformer_model is not before["transformer_model"]
    tf_fastbert.unpatch(modeling)
    after = snapshot(modeling)
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    tf_fastbert.unpatch(modeling)
    assert snapshot(modeling).keys() == before.keys()


def test_patching_twice_and_nested(tf1: Any, modeling: Any) -> None:
    before = snapshot(modeling)
    tf_fastbert.patch(modeling)
    once = snapshot(modeling)
    tf_fastbert.patch(modeling)
    assert all(snapshot(modeling)[name] is once[name] for name in once)
    tf_fastbert.patch(modeling, floatx="float16")

    def floatx() -> str:
        with tf1.Graph().as_default():
            return modeling.embedding_lookup(tf1.constant(IDS, tf1.int32), 60)[1].dtype.base_dtype.name

    assert floatx() == "float16"
    with tf_fastbert.patched(modeling) as inside:
        assert inside is modeling and floatx() == "float32"
        with pytest.raises(ZeroDivisionError), tf_fastbert.patched(modeling, floatx="bfloat16"):
            raise ZeroDivisionError
        assert floatx() == "float32"
    assert floatx() == "float16"
    tf_fastbert.unpatch(modeling)
    with tf_fastbert.patched(modeling):
        pass
    after = snapshot(modeling)
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)


def test_what_others_replaced_afterwards_is_left(tf1: Any, modeling: Any, caplog: Any) -> None:
    original = modeling.transformer_model
    tf_fastbert.patch(modeling)
    other = lambda *args, **kwargs: None  # noqa: E731
    modeling.transformer_model = other
    try:
        tf_fastbert.unpatch(modeling)
        assert modeling.transformer_model is other
        assert "bert.modeling.transformer_model was replaced by somebody else" in caplog.text
    finally:
        modeling.transformer_model = original


def test_patching_in_many_threads(tf1: Any, modeling: Any) -> None:
    before = snapshot(modeling)
    errors: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for _ in range(2):
                with tf_fastbert.patched(modeling, remove_padding=bool(index % 2)), tf1.Graph().as_default():
                    build(tf1, modeling)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    tf_fastbert.unpatch(modeling)  # overlapping contexts end in any order
    assert all(snapshot(modeling)[name] is before[name] for name in before)


def test_a_patched_graph_can_be_collected(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default() as graph:
        build(tf1, modeling).get_all_encoder_layers()
    reference = weakref.ref(graph)
    del graph
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("wrong", [{"floatx": "fp16"}, {"precision": "int8"}, {"custom_mask": "ignore"}])
def test_wrong_options_are_named(tf1: Any, modeling: Any, wrong: dict) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name} is '{value}'"):
        tf_fastbert.patch(modeling, **wrong)
    with pytest.raises(TypeError, match="remove_padding"):
        tf_fastbert.patch(modeling, remove_padding="yes")
    with pytest.raises(ValueError, match="math is not Google's modeling module: it has no BertModel"):
        tf_fastbert.patch(__import__("math"))
    with pytest.raises(TypeError, match="modeling module"):
        tf_fastbert.patch("bert.modeling")


def test_run_squad_scores_padding_last(tf1: Any, modeling: Any) -> None:
    def create_model(bert_config, is_training, input_ids, input_mask, segment_ids, use_one_hot_embeddings):
        return tf1.constant([[1.0, 2.0, 3.0]]), tf1.constant([[-4.0, -5.0, -6.0]])

    script = types.ModuleType("my_run_squad")
    with pytest.raises(ValueError, match="my_run_squad is not Google's run_squad module: it has no create_model with"):
        tf_fastbert.patch(modeling, run_squad=script)
    with pytest.raises(TypeError, match="expected Google's run_squad module, not 'run_squad'"):
        tf_fastbert.patch(modeling, run_squad="run_squad")
    script.create_model = create_model
    arguments = {"bert_config": None, "input_ids": None, "segment_ids": None, "use_one_hot_embeddings": False}
    with tf_fastbert.patched(modeling, run_squad=script), tf1.Graph().as_default(), tf1.Session() as session:
        arguments["input_mask"] = tf1.constant([[1, 0, 1]])
        (start, end), (trained, _) = session.run(
            [script.create_model(is_training=False, **arguments), script.create_model(is_training=True, **arguments)]
        )
        # A mistake leaves the patch that is there as it was.
        wrapped = script.create_model
        with pytest.raises(TypeError):
            tf_fastbert.patch(modeling, run_squad="run_squad")
        assert script.create_model is wrapped
    assert script.create_model is create_model
    assert start.tolist() == [[1.0, -10000.0, 3.0]] and end.tolist() == [[-4.0, -10000.0, -6.0]]
    assert trained.tolist() == [[1.0, 2.0, 3.0]]


def transformer(tf: Any, module: types.ModuleType, attention_mask: Any, **changes: Any) -> Any:
    arguments = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 96,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        **changes,
    }
    hidden = np.random.RandomState(5).normal(size=(3, 9, 64))
    return module.transformer_model(tf.constant(hidden, tf.float32), attention_mask=attention_mask, **arguments)


def test_a_custom_3d_mask_is_refused_or_left_to_the_stock_encoder(tf1: Any, modeling: Any) -> None:
    causal = np.broadcast_to(np.tril(np.ones((9, 9), np.float32)), (3, 9, 9))
    tf_fastbert.patch(modeling)
    with (
        tf1.Graph().as_default(),
        pytest.raises(ValueError, match=r'was not made by bert\.modeling\.create_attention_mask.*custom_mask="stock"'),
    ):
        transformer(tf1, modeling, tf1.constant(causal))

    def run() -> np.ndarray:
        with tf1.Graph().as_default(), tf1.Session() as session:
            tf1.set_random_seed(1)
            output = transformer(tf1, modeling, tf1.constant(causal))
            assert count_ops(tf1) == 0
            load(tf1, session, random_values(tf1, tf1.trainable_variables()))
            return session.run(output)

    tf_fastbert.patch(modeling, custom_mask="stock")
    got = run()
    tf_fastbert.unpatch(modeling)
    np.testing.assert_array_equal(got, run())
    tf_fastbert.patch(modeling, custom_mask="stock", floatx="float16")
    with tf1.Graph().as_default(), pytest.raises(ValueError, match="custom one, which only Google's own encoder can do.*float16"):
        transformer(tf1, modeling, tf1.constant(causal))


@pytest.mark.parametrize("kind", ["int32", "float32", "bool", "none"])
def test_masks_of_any_type_and_none(tf1: Any, modeling: Any, kind: str) -> None:
    def run() -> np.ndarray:
        with tf1.Graph().as_default(), tf1.Session() as session:
            ids = tf1.constant(IDS, tf1.int32)
            mask = (
                None
                if kind == "none"
                else modeling.create_attention_mask_from_input_mask(ids, tf1.constant(MASK_WITH_HOLES, kind))
            )
            output = transformer(tf1, modeling, mask)
            load(tf1, session, random_values(tf1, tf1.trainable_variables()))
            return session.run(output)

    want = run()
    tf_fastbert.patch(modeling)
    valid = np.ones_like(IDS, bool) if kind == "none" else MASK_WITH_HOLES.astype(bool)
    np.testing.assert_allclose(run()[valid], want[valid], atol=1e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_attention_heads": 5}, r"hidden size \(64\) is not a multiple of the number of attention heads \(5\)"),
        ({"num_attention_heads": 64}, r"64 / 64 heads = 1\) is not supported: it must be even"),
        ({"hidden_size": 32}, r"width of the input tensor \(64\) != hidden size \(32\)"),
    ],
)
def test_wrong_sizes_are_named(tf1: Any, modeling: Any, changes: dict, message: str) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default(), pytest.raises(ValueError, match=message):
        transformer(tf1, modeling, None, **changes)


@pytest.mark.parametrize("dropout", [0.1, 0.0])
def test_training_keeps_the_stock_encoder_and_its_gradients(tf1: Any, modeling: Any, dropout: float) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default(), tf1.Session() as session:
        model = build(tf1, modeling, is_training=True, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
        assert count_ops(tf1) == 0 and isinstance(model.get_all_encoder_layers(), list)
        variables = tf1.trainable_variables()
        gradients = tf1.gradients(tf1.reduce_sum(tf1.square(model.get_pooled_output())), variables)
        load(tf1, session, random_values(tf1, variables))
        for variable, value in zip(variables, session.run(gradients)):
            assert np.isfinite(value.values if hasattr(value, "values") else value).all(), variable.name
    with tf1.Graph().as_default():  # and the next model, for inference, has the op
        build(tf1, modeling)
        assert count_ops(tf1) == 1


def test_dropout_without_bert_model_keeps_the_stock_encoder(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default():
        transformer(tf1, modeling, None, hidden_dropout_prob=0.1)
        assert count_ops(tf1) == 0


def test_training_in_16_bit_is_refused(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling, floatx="float16")
    with tf1.Graph().as_default():
        with pytest.raises(ValueError, match="training in float16 is not supported"):
            build(tf1, modeling, is_training=True)
        with pytest.raises(ValueError, match="dropout is not 0"):
            transformer(tf1, modeling, None, hidden_dropout_prob=0.1)


def test_a_variable_assigned_between_runs_counts(tf1: Any, modeling: Any) -> None:
    values = stock_values(tf1, modeling)
    changed = {name: value * 1.5 if "layer_1" in name else value for name, value in values.items()}
    want = [run_model(tf1, modeling, v)["pooled"] for v in (values, changed)]
    tf_fastbert.patch(modeling)
    with tf1.Graph().as_default(), tf1.Session() as session:
        pooled = build(tf1, modeling).get_pooled_output()
        for assigned, wanted in zip((values, changed), want):
            load(tf1, session, assigned)
            for _ in range(2):
                np.testing.assert_allclose(session.run(pooled), wanted, atol=1e-4)


def test_one_hot_embeddings_in_16_bit(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling, floatx="float16")
    with tf1.Graph().as_default(), tf1.Session() as session:
        outputs = []
        for one_hot in (False, True):
            with tf1.variable_scope("bert", reuse=one_hot) as scope:
                model = modeling.BertModel(
                    bert_config(modeling), False, tf1.constant(IDS, tf1.int32), use_one_hot_embeddings=one_hot, scope=scope
                )
            outputs.append(model.get_sequence_output())
        load(tf1, session, random_values(tf1, tf1.trainable_variables()))
        np.testing.assert_array_equal(*session.run(outputs))


def head_arguments(tf: Any, module: types.ModuleType) -> dict[str, Any]:
    return {
        "bert_config": bert_config(module),
        "is_training": False,
        "input_ids": tf.constant(IDS, tf.int32),
        "input_mask": tf.constant(PREFIX_MASK, tf.int32),
        "segment_ids": tf.constant(IDS % 2, tf.int32),
        "use_one_hot_embeddings": False,
    }


@pytest.mark.parametrize("floatx", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("script", ["run_squad", "run_classifier"])
def test_create_model_of_googles_scripts_from_a_checkpoint(
    tf1: Any, modeling: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, floatx: str
) -> None:
    module = import_script(script, monkeypatch, tf1)
    assert module.modeling is modeling
    heads = {
        "run_squad": ("cls/squad/output_weights", "cls/squad/output_bias"),
        "run_classifier": ("output_weights", "output_bias"),
    }[script]

    def run(checkpoint: str) -> list[np.ndarray]:
        with tf1.Graph().as_default(), tf1.Session() as session:
            extra = {} if script == "run_squad" else {"labels": tf1.constant([0, 2, 1]), "num_labels": 3}
            outputs = module.create_model(**head_arguments(tf1, modeling), **extra)
            variables = tf1.trainable_variables()
            assert [v.op.name for v in variables[-2:]] == list(heads)
            names, _ = modeling.get_assignment_map_from_checkpoint(variables, checkpoint)
            assert len(names) == len(variables)
            tf1.train.init_from_checkpoint(checkpoint, names)
            session.run(tf1.global_variables_initializer())
            assert {v.dtype.base_dtype.name for v in variables} == {np.dtype(dtype).name}
            return session.run(outputs)

    with tf1.Graph().as_default():
        build(tf1, modeling)
        rows = 2 if script == "run_squad" else 3
        tf1.get_variable(heads[0], [rows, 64])
        tf1.get_variable(heads[1], [rows])
        values = random_values(tf1, tf1.trainable_variables())
    dtype = np.float32
    want = run(write_checkpoint(tf1, tmp_path / "float32.ckpt", values))
    tf_fastbert.patch(modeling, floatx=floatx, run_squad=module if script == "run_squad" else None)
    dtype = tf1.as_dtype(floatx).as_numpy_dtype
    got = run(write_checkpoint(tf1, tmp_path / "floatx.ckpt", {name: value.astype(dtype) for name, value in values.items()}))
    for output, wanted in zip(got, want):
        assert output.dtype == np.float32
        if script == "run_squad":  # padding has no answer in it
            assert np.all(output[PREFIX_MASK == 0] == -10000)
            output, wanted = output[PREFIX_MASK.astype(bool)], wanted[PREFIX_MASK.astype(bool)]
        np.testing.assert_allclose(output, wanted, atol=4 * LIMITS[floatx])


def test_16_bit_leaves_other_variables_alone(tf1: Any, modeling: Any) -> None:
    tf_fastbert.patch(modeling, floatx="float16")
    with tf1.Graph().as_default(), tf1.Session() as session:
        build(tf1, modeling)
        step = tf1.train.get_or_create_global_step()
        slot = tf1.get_variable("slot", [2], trainable=False)
        double = tf1.get_variable("double", [2], tf1.float64)
        head = tf1.get_variable("head", initializer=np.array([1.5, 2.5], np.float32))
        tensor_head = tf1.get_variable("tensor_head", initializer=tf1.constant([0.5]))
        assert (step.dtype.base_dtype, slot.dtype.base_dtype, double.dtype.base_dtype) == (tf1.int64, tf1.float32, tf1.float64)
        assert head.dtype == tensor_head.dtype == tf1.float32
        by_name = {v.op.name: v.dtype.base_dtype for v in tf1.global_variables()}
        assert by_name["head"] == by_name["tensor_head"] == tf1.float16
        session.run(tf1.global_variables_initializer())
        assert session.run([head, tensor_head])[0].tolist() == [1.5, 2.5]
        tf_fastbert.patch(modeling)  # a float32 model in the same graph is a float32 model
        build(tf1, modeling)
        assert {v.dtype.base_dtype for v in tf1.trainable_variables() if v.op.name.startswith("bert_1/")} == {tf1.float32}


def test_16_bit_keeps_the_users_custom_getter(tf1: Any, modeling: Any) -> None:
    seen = []

    def getter(getter: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        seen.append(name)
        return getter(name, *args, **kwargs)

    tf_fastbert.patch(modeling, floatx="float16")
    with tf1.Graph().as_default(), tf1.variable_scope("mine", custom_getter=getter):
        build(tf1, modeling)
        tf1.get_variable("head", [3])
        assert seen == [v.op.name for v in tf1.trainable_variables()]
        assert {v.dtype.base_dtype for v in tf1.trainable_variables()} == {tf1.float16}


@pytest.mark.parametrize("floatx", ["float32", "float16"])
def test_a_local_copy_of_modeling(tf1: Any, modeling: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, floatx: str) -> None:
    copy = import_copy(tmp_path, "modeling", monkeypatch)
    assert copy is not modeling and copy.__name__ == "modeling"
    values = stock_values(tf1, copy)
    want = run_model(tf1, copy, values)
    before = snapshot(modeling)
    with tf_fastbert.patched(copy, floatx=floatx):
        got = run_model(tf1, copy, values)
    assert all(snapshot(modeling)[name] is before[name] for name in before), "the installed module is another one"
    np.testing.assert_allclose(got["pooled"], want["pooled"], atol=LIMITS[floatx])
