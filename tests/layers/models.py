"""Small models for the tests of the layers: weights from tests.random_configs, as checkpoints of Google's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.random_configs import DTYPES, Config, Inputs, make_inputs
from tests.reference import encoder_float64
from tf_fastbert.checkpoint.writer import write_checkpoint
from tf_fastbert.weights import GOOGLE_NAMES

CONFIG = Config(seed=1, num_layers=2, num_heads=2, size_per_head=32, inner_size=96, batch=3, seq_len=7, lengths=(7, 3, 1))
VOCABULARY, POSITIONS, TYPES = 60, 16, 2


def config(**changes: Any) -> Config:
    return Config(**{**CONFIG.__dict__, **changes})


def bert_config(case: Config, **changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": case.hidden_size, "num_hidden_layers": case.num_layers, "num_attention_heads": case.num_heads,
        "intermediate_size": case.inner_size, "hidden_act": {"gelu_tanh": "gelu"}.get(case.activation, case.activation),
        "vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, "type_vocab_size": TYPES, **changes,
    }  # fmt: skip


def tables(case: Config) -> dict[str, np.ndarray]:
    """The variables of a BERT around its encoder."""
    rng, h = np.random.default_rng(case.seed + 7), case.hidden_size
    shapes = {
        "embeddings/word_embeddings": (VOCABULARY, h), "embeddings/position_embeddings": (POSITIONS, h),
        "embeddings/token_type_embeddings": (TYPES, h), "embeddings/LayerNorm/gamma": (h,), "embeddings/LayerNorm/beta": (h,),
        "pooler/dense/kernel": (h, h), "pooler/dense/bias": (h,),
    }  # fmt: skip
    values = {f"bert/{name}": rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
    values["bert/embeddings/LayerNorm/gamma"] += 1
    return {name: value.astype(DTYPES[case.dtype]) for name, value in values.items()}


def encoder_variables(inputs: Inputs | Any, layers: Any = None) -> dict[str, np.ndarray]:
    return {
        f"bert/encoder/layer_{index}/{GOOGLE_NAMES[field]}": array
        for index, layer in enumerate(layers or inputs.layers)
        for field, array in layer._asdict().items()
    }


def write(folder: Path, case: Config, variables: dict[str, np.ndarray] | None = None, **config_changes: Any) -> Path:
    """A directory with bert_model.ckpt and bert_config.json."""
    if variables is None:
        variables = {**tables(case), **encoder_variables(make_inputs(case))}
    write_checkpoint(str(folder / "bert_model.ckpt"), variables)
    (folder / "bert_config.json").write_text(json.dumps(bert_config(case, **config_changes)))
    return folder


def bert_float64(case: Config, ids: np.ndarray, mask: np.ndarray, types: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sequence_output (or all layers' outputs, with all_layers) and pooled_output in float64."""
    names = {name.removeprefix("bert/"): value.astype(np.float64) for name, value in tables(case).items()}
    x = names["embeddings/word_embeddings"][ids] + names["embeddings/token_type_embeddings"][types]
    x = x + names["embeddings/position_embeddings"][: ids.shape[1]]
    mean = x.mean(-1, keepdims=True)
    x = (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + case.epsilon)
    x = x * names["embeddings/LayerNorm/gamma"] + names["embeddings/LayerNorm/beta"]
    output = encoder_float64(
        x, mask, make_inputs(case).layers, case.num_heads, case.epsilon, case.activation, case.layer_norm, case.all_layers
    )
    first = (output[-1] if case.all_layers else output)[:, 0]
    return output, np.tanh(first @ names["pooler/dense/kernel"] + names["pooler/dense/bias"])
