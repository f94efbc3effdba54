"""The features are Google's, field by field."""

from __future__ import annotations

import gzip
import types
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import (  # noqa: F401
    VOCAB,
    features_of,
    needs_shared,
    run_squad,
    squad_files,
    tf1,
    write_questions,
    write_vocab,
)
from tf_fastbert.pipeline import squad_features


def check(run_squad: types.ModuleType, path: Path, vocab: Path, lower: bool, *sizes: int) -> int:  # noqa: F811
    """Google's examples and features against ours; returns how many features there are."""
    expected = run_squad.read_squad_examples(str(path), False)
    examples = squad_features.make_read_squad_examples(run_squad)(str(path), False)
    assert [vars(example) for example in examples] == [vars(example) for example in expected]
    google = run_squad.tokenization.FullTokenizer(str(vocab), do_lower_case=lower)
    convert = squad_features.make_convert_examples_to_features(run_squad)
    ours = features_of(run_squad, convert, examples, google, *sizes)
    stock = features_of(run_squad, run_squad.convert_examples_to_features, expected, google, *sizes)
    assert len(ours) == len(stock)
    for a, b in zip(ours, stock):
        assert type(a) is type(b)
        assert repr(vars(a)) == repr(vars(b))  # types and the order of keys too
    return len(ours)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("sizes", [(64, 16, 16), (48, 3, 20), (128, 128, 64), (384, 128, 64), (32, 50, 8)], ids=str)
def test_features(run_squad: Any, tmp_path: Path, sizes: tuple[int, ...], lower: bool) -> None:  # noqa: F811
    questions = write_questions(tmp_path / "squad.json")
    assert check(run_squad, questions, write_vocab(tmp_path / "vocab.txt"), lower, *sizes) >= 33


def test_training_keeps_googles_features(run_squad: Any, tmp_path: Path) -> None:  # noqa: F811
    google = run_squad.tokenization.FullTokenizer(str(write_vocab(tmp_path / "vocab.txt")))
    example = run_squad.SquadExample("q", "where is the cat", ["The", "cat's", "house", "is", "(1895)."], "1895", 4, 4)
    ours, stock = [], []
    for convert, out in (
        (squad_features.make_convert_examples_to_features(run_squad), ours),
        (run_squad.convert_examples_to_features, stock),
    ):
        convert([example], google, 48, 16, 16, True, out.append)
    assert [vars(feature) for feature in ours] == [vars(feature) for feature in stock]
    assert ours[0].start_position > 0


@needs_shared
@pytest.mark.parametrize("path", squad_files(), ids=lambda path: path.name)
def test_all_files(run_squad: Any, path: Path, tmp_path: Path) -> None:  # noqa: F811
    if path.suffix == ".gz":
        (tmp_path / "squad.json").write_bytes(gzip.decompress(path.read_bytes()))
        path = tmp_path / "squad.json"
    assert check(run_squad, path, VOCAB, True, 384, 128, 64) > 100
