"""Makes a Google-format BERT checkpoint out of a Hugging Face (PyTorch-named) BERT."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from tf_fastbert.checkpoint.errors import CheckpointError
from tf_fastbert.checkpoint.huggingface_names import Source, encoder_sources, head_sources
from tf_fastbert.checkpoint.state_dict import StateDict, open_state_dict
from tf_fastbert.checkpoint.writer import write_checkpoint
from tf_fastbert.config import is_size

# Hugging Face's "gelu" is x * Phi(x) with the error function; Google's "gelu" is the tanh approximation of it.
_ACTIVATIONS = {
    "gelu": "gelu_erf",
    "gelu_python": "gelu_erf",
    "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu",
    "relu": "relu",
    "tanh": "tanh",
}
_CONFIG_KEYS = (
    "attention_probs_dropout_prob", "hidden_dropout_prob", "hidden_size", "initializer_range", "intermediate_size",
    "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size",
)  # fmt: skip
_FRACTIONS = ("attention_probs_dropout_prob", "hidden_dropout_prob", "initializer_range")
_CONFIG_DEFAULTS = {
    "attention_probs_dropout_prob": 0.1, "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "type_vocab_size": 2,
}  # fmt: skip
_MARK = "embeddings.word_embeddings.weight"


class HuggingFaceReport(NamedTuple):
    """What convert_huggingface did. `notes` are sentences a user should read."""

    checkpoint: str
    num_variables: int
    initialised: list[str]
    ignored: list[str]
    notes: list[str]


def convert_huggingface(
    model_dir: str,
    output_dir: str,
    *,
    hidden_act: str = "gelu",
    ignore_unexpected: bool = False,
    seed: int = 1,
    progress: Callable[[list[str]], Iterable[str]] = iter,
) -> HuggingFaceReport:
    """Writes output_dir/bert_model.ckpt (float32), bert_config.json and vocab.txt from the BERT in `model_dir`.

    Args:
      hidden_act: what bert_config.json says where the model uses the erf form of GELU: "gelu" (Google's code runs unchanged,
        with the tanh form: hidden states differ by about 1e-3) or "gelu_erf" (the true form; tf_fastbert understands it,
        Google's code alone does not).
      ignore_unexpected: go on when the model has tensors that are no part of a BERT, and list them in the report.
      seed: of the initializer of a pooler that the model lacks.
      progress: wraps the list of variable names to iterate over, for a progress bar.

    Raises:
      CheckpointError: naming the file, and the tensors that are missing, unexpected or of the wrong shape.
    """
    config, notes = _bert_config(os.path.join(model_dir, "config.json"), hidden_act)
    vocabulary = _vocabulary(model_dir)
    notes += _tokenizer_notes(model_dir, len(vocabulary), config["vocab_size"])
    with open_state_dict(model_dir) as state:
        prefix = _model_prefix(state)
        sources = dict(encoder_sources(config)) | dict(head_sources(state.names, config))
        pooler = [name for name in sources if name.startswith("bert/pooler/")]
        initialised = [name for name in pooler if _find(state, prefix, sources[name]) is None]
        if len(initialised) not in (0, len(pooler)):
            initialised = []  # Half a pooler is an error, which the check below names.
        ignored = _check_names(state, prefix, {k: v for k, v in sources.items() if k not in initialised}, ignore_unexpected)
        rng = np.random.default_rng(seed)
        tensors = {}
        for name in progress(sorted(sources)):
            if name in initialised:
                tensors[name] = _initial_pooler(rng, sources[name], config["initializer_range"])
            else:
                tensors[name] = _read(state, prefix, name, sources[name])
    if initialised:
        notes.append(
            f"the model has no pooler: {', '.join(initialised)} were initialised at random (seed {seed}), as Google's code does "
            "before training. Question answering does not use them; classification must be fine-tuned."
        )
    checkpoint = os.path.join(output_dir, "bert_model.ckpt")
    write_checkpoint(checkpoint, tensors)
    _write_text(os.path.join(output_dir, "bert_config.json"), json.dumps(config, indent=2, sort_keys=True) + "\n")
    _write_text(os.path.join(output_dir, "vocab.txt"), "".join(token + "\n" for token in vocabulary))
    return HuggingFaceReport(checkpoint, len(tensors), initialised, ignored, notes)


def _load_json(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: not the directory of a Hugging Face model") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} does not hold a JSON object")
    return value


def _write_text(path: str, text: str) -> None:
    try:
        # Written beside and renamed, so that a reader never sees half a file.
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(f"{path}.new", path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def _bert_config(path: str, hidden_act: str) -> tuple[dict, list[str]]:
    """Google's bert_config.json as a dict, and notes on what it cannot say."""
    theirs = _load_json(path)
    if theirs.get("model_type", "bert") != "bert":
        raise CheckpointError(f"{path}: model_type is {theirs['model_type']!r}; only 'bert' can be converted")
    if theirs.get("position_embedding_type", "absolute") != "absolute":
        raise CheckpointError(f"{path}: position_embedding_type {theirs['position_embedding_type']!r} is not Google's BERT")
    config = {}
    for key in _CONFIG_KEYS:
        config[key] = theirs.get(key, _CONFIG_DEFAULTS.get(key))
        if config[key] is None:
            raise CheckpointError(f"{path} lacks {key}")
        if key not in _FRACTIONS and not is_size(config[key]):
            raise CheckpointError(f"{path}: {key} must be a positive integer, not {config[key]!r}")
    notes = []
    source_act = theirs.get("hidden_act", "gelu")
    if source_act not in _ACTIVATIONS:
        raise CheckpointError(f"{path}: hidden_act {source_act!r} is not one of {', '.join(sorted(_ACTIVATIONS))}")
    config["hidden_act"] = _ACTIVATIONS[source_act]
    if config["hidden_act"] == "gelu_erf":
        # Extra keys are kept and otherwise ignored by Google's BertConfig: the file goes on telling the truth.
        config["source_hidden_act"] = "gelu_erf"
        if hidden_act == "gelu":
            config["hidden_act"] = "gelu"
            notes.append(
                "the model was trained with the erf form of GELU; bert_config.json says \"gelu\", which Google's code computes "
                "in the tanh form. After fine-tuning this does not matter; for the exact original use --hidden_act gelu_erf."
            )
    elif hidden_act == "gelu_erf":
        raise CheckpointError(f"{path}: hidden_act is {source_act!r}, not the erf form of GELU: leave out --hidden_act gelu_erf")
    epsilon = theirs.get("layer_norm_eps", 1e-12)
    if epsilon != 1e-12:
        config["layer_norm_eps"] = epsilon
        notes.append(f"layer_norm_eps is {epsilon}, Google's code always uses 1e-12: hidden states differ slightly")
    return config, notes


def _model_prefix(state: StateDict) -> str:
    """What stands before "embeddings." in this model's names: "bert.", "model.", nothing, ..."""
    prefixes = sorted(name[: -len(_MARK)] for name in state.names if name == _MARK or name.endswith("." + _MARK))
    if len(prefixes) == 1:
        return prefixes[0]
    if not prefixes:
        raise CheckpointError(f"{state.source} holds no BERT: no tensor's name ends in {_MARK}")
    raise CheckpointError(f"{state.source} holds several models, with the prefixes {', '.join(map(repr, prefixes))}")


def _find(state: StateDict, prefix: str, source: Source) -> str | None:
    """The name of `source` in this model: old models say gamma and beta for LayerNorm's weight and bias."""
    old = source.name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    for name in (prefix + source.name, prefix + old, source.name, old):
        if name in state.names:
            return name
    return None


def _check_names(state: StateDict, prefix: str, sources: dict[str, Source], ignore_unexpected: bool) -> list[str]:
    """Raises if a source is missing; returns (or raises on) the tensors of the model that no source takes."""
    found = {source.name: _find(state, prefix, source) for source in sources.values()}
    missing = [name for name, actual in found.items() if actual is None]
    if missing:
        raise CheckpointError(f"{state.source} lacks {_listed(missing)}; does config.json belong to it?")
    # position_ids is a constant 0, 1, 2, ...; the decoder is the word embedding and the bias above once more.
    constants = {prefix + "embeddings.position_ids", prefix + "embeddings.token_type_ids"}
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
    unexpected = sorted(state.names - set(found.values()) - constants - tied)
    if unexpected and not ignore_unexpected:
        raise CheckpointError(
            f"{state.source} has tensors that are no part of Google's BERT: {_listed(unexpected)}; "
            "--ignore_unexpected leaves them out"
        )
    return unexpected


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read(state: StateDict, prefix: str, google_name: str, source: Source) -> np.ndarray:
    name = _find(state, prefix, source)
    assert name is not None, f"{source.name}: _check_names lets no missing tensor pass"
    array = state.read(name)
    if len(array.shape) != len(source.shape) or any(want not in (-1, got) for want, got in zip(source.shape, array.shape)):
        want = "x".join("any" if n == -1 else str(n) for n in source.shape)
        got = "x".join(map(str, array.shape))
        raise CheckpointError(f"{state.source}: {name} (to become {google_name}) is {got}, config.json asks for {want}")
    return np.ascontiguousarray(array.T) if source.transpose else array


def _initial_pooler(rng: np.random.Generator, source: Source, stddev: float) -> np.ndarray:
    """Google's initializer: a normal distribution cut at two standard deviations for kernels, zeros for biases."""
    if not source.transpose:
        return np.zeros(source.shape, np.float32)
    values = rng.standard_normal(source.shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(np.count_nonzero(outside))
    return (values * stddev).astype(np.float32)


def _vocabulary(model_dir: str) -> list[str]:
    """The tokens of vocab.txt, else of tokenizer.json, in the order of their ids."""
    path = os.path.join(model_dir, "vocab.txt")
    if os.path.isfile(path):
        with open(path, encoding="utf-8") as file:
            return [line.rstrip("\n") for line in file]
    path = os.path.join(model_dir, "tokenizer.json")
    if not os.path.isfile(path):
        raise CheckpointError(f"{model_dir} has neither vocab.txt nor tokenizer.json: Google's tokenizer needs a vocabulary")
    model = _load_json(path).get("model", {})
    if model.get("type") != "WordPiece":
        raise CheckpointError(f"{path}: the tokenizer is {model.get('type')!r}; Google's tokenizer needs WordPiece")
    return sorted(model["vocab"], key=model["vocab"].get)


def _tokenizer_notes(model_dir: str, tokens: int, vocab_size: int) -> list[str]:
    """What a user should know of the vocabulary; raises if it doesn't fit the model."""
    notes = []
    if tokens > vocab_size:
        raise CheckpointError(f"{model_dir}: the vocabulary has {tokens} tokens but config.json says vocab_size {vocab_size}")
    if tokens < vocab_size:
        notes.append(f"the vocabulary has {tokens} tokens, fewer than the {vocab_size} rows of the word embedding")
    tokenizer_config = os.path.join(model_dir, "tokenizer_config.json")
    if os.path.isfile(tokenizer_config) and _load_json(tokenizer_config).get("do_lower_case") is False:
        notes.append("this model is cased: give Google's scripts --do_lower_case=False")
    return notes
