"""Google's scripts inside a test process, with flags that a test can set, and data for them."""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from absl import flags

from tests.google_bert import import_script, tf1  # noqa: F401 (a fixture)

SHARED = Path(__file__).resolve().parents[3] / "shared"
VOCAB = SHARED / "models" / "minilm_l6_squad_mrpc" / "vocab.txt"
WORDS = (
    "The cat's (well-known) house, in 1895–1943: Zürich is not Málaga. naïve coöperation 東京 is a city in 日本 costs $5.30 !!"
).split()
# The comparisons with Google's code on all data there is take half an hour.
ALL = os.environ.get("TF_FASTBERT_TEST_ALL", "") not in ("", "0")
needs_shared = pytest.mark.skipif(not VOCAB.exists(), reason="needs ../shared/models and ../shared/data")


def squad_files() -> list[Path]:
    """Files of questions in ../shared: XQuAD, and with TF_FASTBERT_TEST_ALL=1 all, the gzipped ones too."""
    data = SHARED / "data"
    return sorted([*data.glob("squad/*.json"), *data.glob("qa_train/*.json.gz")]) if ALL else [data / "squad" / "xquad.en.json"]


@pytest.fixture
def run_squad(tf1: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:  # noqa: F811
    """bert.run_squad with FLAGS of its own."""
    yield load_script("run_squad", tf1, monkeypatch)


@pytest.fixture
def run_classifier(tf1: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:  # noqa: F811
    """bert.run_classifier with FLAGS of its own."""
    yield load_script("run_classifier", tf1, monkeypatch)


def load_script(name: str, tf: Any, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """One of Google's scripts with FLAGS of its own, until `monkeypatch` is undone."""
    importlib.import_module("bert.tokenization")  # with its flags
    flags.FLAGS.mark_as_parsed()
    with monkeypatch.context() as context:
        script = import_script(name, context, tf)
    # Where inspect looks for the source of a class.
    monkeypatch.setitem(sys.modules, f"bert.{name}", script)
    script.FLAGS = types.SimpleNamespace(version_2_with_negative=False, null_score_diff_threshold=0.0, verbose_logging=False)
    return script


def write_vocab(path: Path) -> Path:
    """A vocabulary in which most of WORDS are split into pieces."""
    letters = sorted(set("".join(WORDS).lower()) | set("abcdefghijklmnopqrstuvwxyz0123456789"))
    words = ["the", "cat", "house", "is", "in", "city", "##ll", "##known", "zur", "##ich", "well", "The", "not"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{letter}" for letter in letters)]
    path.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    return path


def write_questions(path: Path, paragraphs: int = 12, seed: int = 5) -> Path:
    """A SQuAD file whose paragraphs have 0 to 150 words, strange blanks among them, and 3 questions each."""
    rng = random.Random(seed)
    data = []
    for p in range(paragraphs):
        words = rng.choices(WORDS, k=p * 150 // max(paragraphs - 1, 1))
        context = "".join(word + rng.choice([" ", " ", " ", "\n", "  ", "\u202f", "\u00a0", "\u200b"]) for word in words)
        qas = [{"id": f"{p}é{q}", "question": " ".join(rng.choices(WORDS, k=1 + 9 * q))} for q in range(3)]
        data.append({"title": "t", "paragraphs": [{"context": context, "qas": qas}]})
    path.write_text(json.dumps({"data": data}), encoding="utf-8")
    return path


def features_of(run_squad: types.ModuleType, convert: Any, examples: list[Any], tokenizer: Any, *sizes: int) -> list[Any]:
    """What `convert`, a convert_examples_to_features, gives: max_seq_length, doc_stride and max_query_length are `sizes`."""
    features: list[Any] = []
    convert(examples, tokenizer, *sizes, False, features.append)
    return features
