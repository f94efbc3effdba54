"""encoder(), BertEncoder, weights_from_checkpoint, BertConfig and check_checkpoint_dtype."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tf_fastbert
from tests import quantized_configs
from tests.google_bert import load, write_checkpoint
from tests.random_configs import DTYPES, Config, Inputs, check_output, make_inputs
from tf_fastbert.config import BertConfig
from tf_fastbert.encoder import (
    GOOGLE_NAMES,
    BertEncoder,
    check_checkpoint_dtype,
    encoder,
    layer_variables,
    weights_from_checkpoint,
)
from tf_fastbert.ops import LayerWeights

v1 = tf.compat.v1
CONFIG = Config(seed=1, num_layers=2, num_heads=2, size_per_head=32, inner_size=96, batch=3, seq_len=7, lengths=(7, 3, 1))
BERT_CONFIG = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96, "hidden_act": "gelu"}


def config(**changes: Any) -> Config:
    return Config(**{**CONFIG.__dict__, **changes})


def named(inputs: Inputs, scope: str = "bert/encoder") -> dict[str, np.ndarray]:
    return {
        f"{scope}/layer_{index}/{GOOGLE_NAMES[field]}": array
        for index, layer in enumerate(inputs.layers)
        for field, array in layer._asdict().items()
    }


def layers_of(inputs: Inputs) -> list[LayerWeights]:
    return [LayerWeights(*layer) for layer in inputs.layers]


def test_google_names_cover_the_fields() -> None:
    assert tuple(GOOGLE_NAMES) == LayerWeights._fields and len(set(GOOGLE_NAMES.values())) == 16


@pytest.mark.parametrize(
    "changes", [{}, {"mask": "holes"}, {"layer_norm": "pre", "activation": "gelu_erf"}, {"all_layers": True}], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_encoder_in_a_tf1_graph(dtype: str, changes: dict) -> None:
    case = config(dtype=dtype, **changes)
    inputs = make_inputs(case)
    attributes = case.attributes()
    del attributes["size_per_head"]
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("bert/encoder"):
            output = encoder(
                tf.constant(inputs.hidden_states),
                tf.constant(inputs.sequence_length),
                num_layers=2,
                intermediate_size=96,
                **attributes,
            )
        assert {variable.dtype.base_dtype.name for variable in v1.trainable_variables()} == {dtype}
        load(v1, session, named(inputs))
        check_output(case, inputs, session.run(output))


def test_encoder_without_lengths_takes_all_tokens() -> None:
    case = config(lengths=(7, 7, 7))
    inputs = make_inputs(case)
    with tf.Graph().as_default(), v1.Session() as session:
        hidden_states = v1.placeholder(tf.float32, [None, None, 64])
        with v1.variable_scope("bert/encoder"):
            output = encoder(hidden_states, num_layers=2, num_heads=2, intermediate_size=96)
        load(v1, session, named(inputs))
        check_output(case, inputs, session.run(output, {hidden_states: inputs.hidden_states}))


def test_encoder_names_what_is_wrong() -> None:
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match=r"must be \[B, S, H\] with a known H"):
            encoder(tf.zeros([2, 64]), num_layers=1, num_heads=2, intermediate_size=96)
        with pytest.raises(ValueError, match=r"64 / 1 heads|not a multiple|66 / 2 heads = 33"):
            encoder(tf.zeros([2, 3, 66]), num_layers=1, num_heads=2, intermediate_size=96)
        with pytest.raises(ValueError, match="at most 128"):
            encoder(tf.zeros([2, 3, 256]), num_layers=1, num_heads=1, intermediate_size=96)
        layer_variables(0, 64, 96)
        with pytest.raises(ValueError, match="layer_0/attention/self/query/kernel"), v1.variable_scope("", reuse=True):
            layer_variables(0, 32, 96)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return write_checkpoint(v1, tmp_path / "bert_model.ckpt", named(make_inputs(CONFIG)))


@pytest.mark.parametrize("given", [True, False], ids=["config", "no config"])
def test_weights_from_checkpoint(checkpoint: str, given: bool) -> None:
    layers = weights_from_checkpoint(checkpoint, BertConfig.from_dict(BERT_CONFIG) if given else None)
    for layer, wanted in zip(layers, make_inputs(CONFIG).layers, strict=True):
        for array, want in zip(layer, wanted, strict=True):
            np.testing.assert_array_equal(array, want)
    half = weights_from_checkpoint(checkpoint, dtype="bfloat16")
    assert {array.dtype for layer in half for array in layer} == {np.dtype(DTYPES["bfloat16"])}


def test_a_missing_variable_is_named_with_close_ones(tmp_path: Path) -> None:
    values = named(make_inputs(CONFIG))
    values["bert/encoder/layer_1/output/dense/kernels"] = values.pop("bert/encoder/layer_1/output/dense/kernel")
    prefix = write_checkpoint(v1, tmp_path / "m.ckpt", values)
    with pytest.raises(ValueError) as error:
        weights_from_checkpoint(prefix)
    assert "no variable bert/encoder/layer_1/output/dense/kernel; close to it: bert/encoder/layer_1/output/dense/kernels" in str(
        error.value
    )


def test_a_wrong_scope_shape_or_type_is_named(tmp_path: Path) -> None:
    values = named(make_inputs(CONFIG))
    prefix = write_checkpoint(v1, tmp_path / "a.ckpt", values)
    with pytest.raises(ValueError, match="no variables encoder/layer_<i>/...; it has layers under bert/encoder"):
        weights_from_checkpoint(prefix, scope="encoder")
    with pytest.raises(ValueError, match=r"query/kernel has shape \[64, 64\], expected \[128, 128\]"):
        weights_from_checkpoint(prefix, BertConfig.from_dict({**BERT_CONFIG, "hidden_size": 128}))
    with pytest.raises(ValueError, match="no variable bert/encoder/layer_2/"):
        weights_from_checkpoint(prefix, BertConfig.from_dict({**BERT_CONFIG, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match="dtype is int8"):
        weights_from_checkpoint(prefix, dtype="int8")
    name = "bert/encoder/layer_0/output/dense/bias"
    integers = write_checkpoint(v1, tmp_path / "b.ckpt", {**values, name: np.zeros(64, np.int32)})
    with pytest.raises(ValueError, match=f"{name} has type int32"):
        weights_from_checkpoint(integers)
    flat = write_checkpoint(
        v1, tmp_path / "c.ckpt", {**values, "bert/encoder/layer_0/intermediate/dense/kernel": np.zeros(64, np.float32)}
    )
    with pytest.raises(ValueError, match=r"has shape \[64\], expected \[hidden size, intermediate size\]"):
        weights_from_checkpoint(flat)


@pytest.mark.parametrize("stored, floatx, advice", [
    ("float16", "float32", "--floatx=float16"),
    ("bfloat16", "float32", "--floatx=bfloat16"),
    ("float32", "float16", "tools/ckpt_type_convert.py"),
    ("float16", "bfloat16", "tools/ckpt_type_convert.py"),
])  # fmt: skip
def test_check_checkpoint_dtype(tmp_path: Path, stored: str, floatx: str, advice: str) -> None:
    values = {name: value.astype(DTYPES[stored]) for name, value in named(make_inputs(CONFIG)).items()}
    values["bert/encoder/layer_0/attention/output/LayerNorm/beta/adam_m"] = np.zeros(64, np.float32)
    values["bert/encoder/layer_0/attention/output/LayerNorm/gamma/lamb_v"] = np.zeros(64, np.float32)
    values["bert/encoder/layer_0/amaxList"] = np.zeros(80, np.float32)
    values["global_step"] = np.int64(3)
    prefix = write_checkpoint(v1, tmp_path / "bert_model.ckpt", values)
    check_checkpoint_dtype(prefix, stored)
    with pytest.raises(ValueError) as error:
        check_checkpoint_dtype(prefix, floatx)
    message = str(error.value)
    assert (
        f"is {stored} (variable bert/encoder/layer_0/attention/output/LayerNorm/beta), but floatx is {floatx}" in message
        and advice in message
    )
    with pytest.raises(ValueError, match="floatx is 'int8'"):
        check_checkpoint_dtype(prefix, "int8")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_bert_encoder_eagerly_and_in_a_function(checkpoint: str, tmp_path: Path, dtype: str) -> None:
    (tmp_path / "bert_config.json").write_text(json.dumps(BERT_CONFIG))
    module = BertEncoder.from_checkpoint(checkpoint, tmp_path / "bert_config.json", dtype=dtype)
    assert len(module.variables) == 32 and len(module.layers) == 2 and module.dtype == dtype
    case = config(dtype=dtype)
    inputs = make_inputs(case)  # from the same seed, so the same weights up to rounding
    check_output(case, inputs, module(inputs.hidden_states, inputs.sequence_length).numpy())
    mask = inputs.mask().astype(np.int32)
    check_output(case, inputs, tf.function(module)(tf.constant(inputs.hidden_states), tf.constant(mask)).numpy())
    full = config(dtype=dtype, lengths=(7, 7, 7))
    check_output(full, make_inputs(full), module(make_inputs(full).hidden_states).numpy())


@pytest.mark.parametrize(
    "options", [{"all_layers": True}, {"layer_norm": "pre"}, {"activation": "relu"}, {"remove_padding": False}], ids=str
)
def test_bert_encoder_options(options: dict) -> None:
    case = config(**options)
    inputs = make_inputs(case)
    module = BertEncoder(layers_of(inputs), num_heads=2, **options)
    check_output(case, inputs, module(inputs.hidden_states, inputs.sequence_length).numpy())


def test_bert_encoder_notices_assigned_weights() -> None:
    inputs, other = make_inputs(CONFIG), make_inputs(config(seed=2))
    module = BertEncoder(layers_of(inputs), num_heads=2)
    for run in (module, module.encode):
        for source in (inputs, other):
            for layer, values in zip(module.layers, source.layers):
                for variable, value in zip(layer, values):
                    variable.assign(value)
            current = Inputs(inputs.hidden_states, inputs.sequence_length, source.layers)
            for _ in range(2):
                check_output(CONFIG, current, run(tf.constant(inputs.hidden_states), tf.constant(inputs.sequence_length)).numpy())


def test_bert_encoder_uses_given_variables_and_refuses_none() -> None:
    layers = [LayerWeights(*(tf.Variable(array) for array in layer)) for layer in make_inputs(CONFIG).layers]
    module = BertEncoder(layers, num_heads=2)
    assert module.layers[1].output_bias is layers[1].output_bias
    with pytest.raises(ValueError, match="at least one layer"):
        BertEncoder([], num_heads=2)


LOAD = """
import sys, numpy as np, tensorflow as tf
from tf_fastbert import ops
ops.load_library()
loaded = tf.saved_model.load(sys.argv[1])
data = np.load(sys.argv[2])
lengths = loaded.encode(tf.constant(data["hidden_states"]), tf.constant(data["lengths"]))
mask = loaded.encode(tf.constant(data["hidden_states"]), tf.constant(data["mask"]))
serve = loaded.signatures["serving_default"]
served = serve(hidden_states=tf.constant(data["hidden_states"]), sequence_length=tf.constant(data["lengths"]))
np.savez(sys.argv[3], lengths=lengths, mask=mask, served=list(served.values())[0])
"""


def test_saved_model_in_another_process(tmp_path: Path) -> None:
    inputs = make_inputs(CONFIG)
    module = BertEncoder(layers_of(inputs), num_heads=2)
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.encode)
    np.savez(
        tmp_path / "in.npz",
        hidden_states=inputs.hidden_states,
        lengths=inputs.sequence_length,
        mask=inputs.mask().astype(np.int32),
    )
    arguments = [sys.executable, "-c", LOAD, tmp_path / "saved", tmp_path / "in.npz", tmp_path / "out.npz"]
    result = subprocess.run(arguments, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    for output in np.load(tmp_path / "out.npz").values():
        check_output(CONFIG, inputs, output)


@pytest.mark.parametrize("changes, message", [
    ({"hidden_size": None}, "hidden_size must be a positive integer, not None"),
    ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive integer, not 0"),
    ({"hidden_act": "swish"}, "hidden_act 'swish' is not supported; supported: gelu,"),
    ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
    ({"hidden_size": 66}, "66 / 2 heads = 33"),
    ({"hidden_size": 512}, "at most 128"),
])  # fmt: skip
def test_bert_config_names_what_is_wrong(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match="^bert_config: ") as error:
        BertConfig.from_dict({**BERT_CONFIG, **changes})
    assert message in str(error.value)


def test_bert_config_from_file(tmp_path: Path) -> None:
    path = tmp_path / "bert_config.json"
    for content, message in (
        ("{", "not JSON"),
        ("[]", "must hold a JSON object, not a list"),
        ("{}", "hidden_size, num_hidden_layers"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message) as error:
            BertConfig.from_file(path)
        assert str(error.value).startswith(str(path))
    path.write_text(json.dumps({**BERT_CONFIG, "vocab_size": 9, "hidden_act": "GELU_erf"}))
    read = BertConfig.from_file(path)
    assert (read.size_per_head, read.activation) == (32, "gelu_erf")


def test_importing_the_package_imports_no_tensorflow() -> None:
    code = "import sys, tf_fastbert; assert 'tensorflow' not in sys.modules; tf_fastbert.patch; print(tf_fastbert.__version__)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == tf_fastbert.__version__
    assert set(tf_fastbert.__all__) <= set(dir(tf_fastbert)) and tf_fastbert.encoder.encoder is encoder
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tf_fastbert.nothing


def test_a_variable_behind_a_reshape_is_prepared_once_and_followed() -> None:
    """tf-models keeps attention's kernels as [H, heads, size per head]: Reshape hands on the variable's buffer."""
    inputs, other = make_inputs(CONFIG), make_inputs(config(seed=2))
    variables = [[tf.Variable(array.reshape(-1, *array.shape, 1)) for array in layer] for layer in inputs.layers]
    shapes = [array.shape for array in inputs.layers[0]]

    @tf.function
    def run(hidden_states: Any) -> Any:
        layers = [LayerWeights(*map(tf.reshape, layer, shapes)) for layer in variables]
        output = tf_fastbert.fast_bert_encoder(hidden_states, inputs.sequence_length, layers, num_heads=2, size_per_head=32)
        assert output.op.get_attr("weights") == b"immutable"
        return output

    check_output(CONFIG, inputs, run(inputs.hidden_states).numpy())
    for layer, values in zip(variables, other.layers, strict=True):
        for variable, value in zip(layer, values, strict=True):
            variable.assign(value.reshape(variable.shape))
    check_output(CONFIG, inputs._replace(layers=other.layers), run(inputs.hidden_states).numpy())


def test_module_from_an_int8_checkpoint_and_without_a_config_path(tmp_path: Path) -> None:
    inputs = make_inputs(CONFIG)
    quantized = quantized_configs.quantize(CONFIG, inputs, "int8_mode2")
    values = named(Inputs(inputs.hidden_states, inputs.sequence_length, quantized.layers))
    for index, ranges in enumerate(quantized.amax_lists):
        values[f"bert/encoder/layer_{index}/amaxList"] = ranges
    prefix = write_checkpoint(v1, tmp_path / "bert_model.ckpt", values)
    with pytest.raises(ValueError, match="has no bert_config.json beside it"):
        BertEncoder.from_checkpoint(prefix)
    (tmp_path / "bert_config.json").write_text(json.dumps(BERT_CONFIG))
    module = BertEncoder.from_checkpoint(tmp_path)
    output, expected = (
        module(inputs.hidden_states, inputs.sequence_length).numpy(), quantized_configs.expected_output(CONFIG, inputs, quantized)
    )  # fmt: skip
    assert np.linalg.norm(output - expected) < 0.03 * np.linalg.norm(expected)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    again = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_array_equal(again.encode(inputs.hidden_states, inputs.sequence_length), output)
    del values["bert/encoder/layer_1/amaxList"]
    incomplete = write_checkpoint(v1, tmp_path / "incomplete.ckpt", values)
    with pytest.raises(ValueError, match="has no variable bert/encoder/layer_1/amaxList: write it with tools/ckpt_quantization.py"):
        BertEncoder.from_checkpoint(incomplete)
    with pytest.raises(ValueError, match="quantization and amax_lists together"):
        BertEncoder(layers_of(inputs), num_heads=2, quantization="fp8")


@pytest.mark.parametrize("epsilon", [0, 2, "1e-5", True])
def test_a_wrong_layer_norm_eps_is_named(epsilon: Any) -> None:
    with pytest.raises(ValueError, match="c.json: layer_norm_eps must be a number between 0 and 1, not"):
        BertConfig.from_dict({**BERT_CONFIG, "layer_norm_eps": epsilon}, source="c.json")
