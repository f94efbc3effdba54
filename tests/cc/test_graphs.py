"""The op in TF1 graphs, tf.function, SavedModels and imported graphs; its shape function; its missing gradient."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import as_variables, new_session, run_python
from tests.random_configs import Config, check_output, make_inputs
from tf_fastbert.ops import LayerWeights, fast_bert_encoder

CONFIG = Config(seed=41, num_layers=2, inner_size=80, batch=3, seq_len=7)
tf1 = tf.compat.v1


class Model(tf.Module):
    """What a user would export."""

    def __init__(self, layers: list[LayerWeights]) -> None:
        super().__init__()
        self.weights = [list(layer) for layer in layers]

    @tf.function(input_signature=[tf.TensorSpec([None, None, 64]), tf.TensorSpec([None, None], tf.int32)])
    def encode(self, hidden_states: tf.Tensor, mask: tf.Tensor) -> dict[str, tf.Tensor]:
        layers = [LayerWeights(*layer) for layer in self.weights]
        return {"output": fast_bert_encoder(hidden_states, mask, layers, **CONFIG.attributes())}


def test_tf1_graph_with_feeds_of_several_sizes(device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        hidden, lengths = tf1.placeholder(tf.float32, [None, None, 64]), tf1.placeholder(tf.int32, [None])
        with tf.device(device), tf1.variable_scope("bert", use_resource=True):
            layers = [
                LayerWeights(
                    *[tf1.get_variable(f"layer_{i}/{name}", initializer=array) for name, array in layer._asdict().items()]
                )
                for i, layer in enumerate(inputs.layers)
            ]
            output = fast_bert_encoder(hidden, lengths, layers, name="encoder", **CONFIG.attributes())
        assert output.op.name == "bert/encoder"
        assert output.shape.as_list() == [None, None, 64]
        with new_session(graph) as session:
            session.run(tf1.global_variables_initializer())
            for batch, seq_len in [(1, 1), (5, 33), (2, 8)]:
                config = Config(seed=CONFIG.seed, inner_size=80, batch=batch, seq_len=seq_len)
                call = make_inputs(config)._replace(layers=inputs.layers)
                check_output(config, call, session.run(output, {hidden: call.hidden_states, lengths: call.sequence_length}))


def test_function_with_several_sizes(device: str) -> None:
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        model = Model(as_variables(inputs))
        for batch, seq_len in [(1, 1), (4, 20)]:
            config = Config(seed=CONFIG.seed, inner_size=80, batch=batch, seq_len=seq_len, mask="holes")
            call = make_inputs(config)._replace(layers=inputs.layers)
            check_output(config, call, model.encode(call.hidden_states, call.sequence_length)["output"].numpy())


LOAD = """
import sys
import numpy as np
import tensorflow as tf
from tf_fastbert import ops
ops.load_library()
folder, device, hidden, mask, expected = sys.argv[1:]
with tf.device(device):
    model = tf.saved_model.load(folder)
    encode = model.signatures["serving_default"]
    output = encode(hidden_states=tf.constant(np.load(hidden)), mask=tf.constant(np.load(mask)))["output"]
np.testing.assert_allclose(output.numpy(), np.load(expected), atol=1e-5)
# The same file in a TF1 session.
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    with tf.device(device):
        signature = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def["serving_default"]
    feeds = {signature.inputs["hidden_states"].name: np.load(hidden), signature.inputs["mask"].name: np.load(mask)}
    np.testing.assert_allclose(session.run(signature.outputs["output"].name, feeds), np.load(expected), atol=1e-5)
print("loaded")
"""


def test_saved_model_in_a_fresh_process(device: str, tmp_path: pathlib.Path) -> None:
    config = Config(seed=CONFIG.seed, inner_size=80, batch=3, seq_len=7, mask="holes")
    inputs = make_inputs(config)
    with tf.device(device):
        model = Model(as_variables(inputs))
        output = model.encode(inputs.hidden_states, inputs.sequence_length)["output"].numpy()
    check_output(config, inputs, output)
    tf.saved_model.save(model, str(tmp_path / "model"), signatures=model.encode)
    files = []
    for name, array in (("hidden", inputs.hidden_states), ("mask", inputs.sequence_length), ("expected", output)):
        files.append(str(tmp_path / f"{name}.npy"))
        np.save(files[-1], array)
    assert "loaded" in run_python("-c", LOAD, str(tmp_path / "model"), device, *files)


def test_imported_graph(device: str) -> None:
    """A GraphDef of unknown shapes, as from a frozen model."""
    inputs = make_inputs(CONFIG)
    with tf.Graph().as_default() as graph:
        hidden, lengths = tf1.placeholder(tf.float32, name="hidden"), tf1.placeholder(tf.int32, name="lengths")
        layers = [LayerWeights(*map(tf.constant, layer)) for layer in inputs.layers]
        with tf.device(device):
            fast_bert_encoder(hidden, lengths, layers, name="encoder", **CONFIG.attributes())
    with tf.Graph().as_default() as imported:
        (output,) = tf.import_graph_def(graph.as_graph_def(), return_elements=["encoder:0"], name="")
        assert output.shape.as_list() == [None, None, 64]
        with new_session(imported) as session:
            check_output(
                CONFIG, inputs, session.run(output, {"hidden:0": inputs.hidden_states, "lengths:0": inputs.sequence_length})
            )


@pytest.mark.parametrize(
    ("hidden", "lengths", "all_layers", "expected"),
    [
        ([3, 7, 64], [3], False, [3, 7, 64]),
        ([None, 7, 64], [3], False, [3, 7, 64]),
        ([None, None, 64], [3, 7], True, [2, 3, 7, 64]),
        ([None, None, None], None, True, [2, None, None, 64]),
        (None, None, False, [None, None, 64]),
    ],
)
def test_shape_inference(hidden: list[int] | None, lengths: list[int] | None, all_layers: bool, expected: list[int]) -> None:
    with tf.Graph().as_default():
        layers = [LayerWeights(*[tf1.placeholder(tf.float32) for _ in LayerWeights._fields]) for _ in range(2)]
        output = fast_bert_encoder(
            tf1.placeholder(tf.float32, hidden),
            tf1.placeholder(tf.int32, lengths),
            layers,
            num_heads=2,
            size_per_head=32,
            all_layers=all_layers,
        )
        assert output.shape.as_list() == expected


def test_gradient_is_refused(device: str) -> None:
    inputs = make_inputs(CONFIG)
    message = "FastBertEncoder.*no gradient.*Training uses the stock encoder"
    with tf.device(device), tf.GradientTape() as tape:
        hidden = tf.constant(inputs.hidden_states)
        tape.watch(hidden)
        output = fast_bert_encoder(hidden, inputs.sequence_length, as_variables(inputs), **CONFIG.attributes())
    with pytest.raises(NotImplementedError, match=message):
        tape.gradient(output, hidden)
    with tf.Graph().as_default():
        hidden = tf.constant(inputs.hidden_states)
        layers = [LayerWeights(*map(tf.constant, layer)) for layer in inputs.layers]
        output = fast_bert_encoder(hidden, inputs.sequence_length, layers, **CONFIG.attributes())
        with pytest.raises(NotImplementedError, match=message):
            tf1.gradients(output, hidden)
        # Nothing flows through the op: nothing to refuse.
        scale = tf1.get_variable("scale", [], use_resource=True)
        assert tf1.gradients(tf.stop_gradient(output) * scale, scale)[0] is not None
