"""The answers' files are Google's, byte for byte."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import (  # noqa: F401
    ALL,
    SHARED,
    VOCAB,
    features_of,
    needs_shared,
    run_squad,
    tf1,
    write_questions,
    write_vocab,
)
from tf_fastbert.pipeline import answers, candidates, squad_features

FILES = ("predictions.json", "nbest_predictions.json", "null_odds.json")


def normal(rng: np.random.Generator, length: int, used: int) -> np.ndarray:
    logits = rng.normal(0, 4, length).astype(np.float32)
    logits[used:] = -10000.0
    return logits


def ties(rng: np.random.Generator, length: int, used: int) -> np.ndarray:
    return rng.integers(-2, 3, length).astype(np.float32)


def peaks(rng: np.random.Generator, length: int, used: int) -> np.ndarray:
    logits = np.zeros(length, np.float32)
    logits[rng.integers(0, used, 3)] = [5.0, 5.0, -0.0]
    return logits


def padding_wins(rng: np.random.Generator, length: int, used: int) -> np.ndarray:
    logits = rng.normal(0, 1, length).astype(np.float32)
    logits[used:] = 7.0
    return logits


def files_of(write: Callable[..., None], folder: Path, *arguments: Any) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    write(*arguments, *(str(folder / name) for name in FILES))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def results_of(script: types.ModuleType, features: list[Any], logits: Callable[..., np.ndarray]) -> list[Any]:
    rng = np.random.default_rng(0)
    length = len(features[0].input_ids)
    return [
        script.RawResult(feature.unique_id, *(logits(rng, length, len(feature.tokens)).tolist() for _ in range(2)))
        for feature in features
    ]


@pytest.fixture(params=[True, False], ids=["lower case", "cased"])
def data(request: pytest.FixtureRequest, run_squad: Any, tmp_path: Path) -> tuple[list[Any], list[Any], bool]:  # noqa: F811
    google = run_squad.tokenization.FullTokenizer(str(write_vocab(tmp_path / "vocab.txt")), do_lower_case=request.param)
    examples = run_squad.read_squad_examples(str(write_questions(tmp_path / "squad.json", paragraphs=8)), False)
    features = features_of(run_squad, run_squad.convert_examples_to_features, examples, google, 64, 16, 16)
    return examples, features, request.param


@pytest.mark.parametrize("logits", [normal, ties, peaks, padding_wins])
def test_same_files(run_squad: Any, data: Any, logits: Any, tmp_path: Path) -> None:  # noqa: F811
    examples, features, lower = data
    ours = answers.make_write_predictions(run_squad)
    results = results_of(run_squad, features, logits)
    for n_best, longest in ((20, 30), (1, 1), (3, 100), *([(70, 10)] if logits is ties else [])):
        arguments = (examples, features, results, n_best, longest, lower)
        expected = files_of(run_squad.write_predictions, tmp_path / "google", *arguments)
        assert files_of(ours, tmp_path / "ours", *arguments) == expected
        assert expected.keys() == {"predictions.json", "nbest_predictions.json"}


@pytest.mark.parametrize("logits, n_best_sizes", [(normal, (20, 7)), (ties, (20, 64)), (peaks, (64,))])
def test_same_files_of_squad_2(run_squad: Any, data: Any, logits: Any, n_best_sizes: Any, tmp_path: Path) -> None:  # noqa: F811
    examples, features, lower = data
    # Google's code fails where there is no answer but "none": on a paragraph without a word, and among very few candidates.
    examples = examples[6:]
    for feature in features:
        feature.example_index -= 6
    ours = answers.make_write_predictions(run_squad)
    results = results_of(run_squad, features, logits)
    for threshold in (0.0, -3.5):
        run_squad.FLAGS = types.SimpleNamespace(
            version_2_with_negative=True, null_score_diff_threshold=threshold, verbose_logging=False
        )
        for n_best in n_best_sizes:
            arguments = (examples, features, results, n_best, 30, lower)
            expected = files_of(run_squad.write_predictions, tmp_path / "google", *arguments)
            assert files_of(ours, tmp_path / "ours", *arguments) == expected
            assert expected.keys() == set(FILES)


def test_any_order_of_features_and_results(run_squad: Any, data: Any, tmp_path: Path) -> None:  # noqa: F811
    examples, features, lower = data
    results = results_of(run_squad, features, normal)[::-1]
    arguments = (examples, features[::-1], results, 20, 30, lower)
    expected = files_of(run_squad.write_predictions, tmp_path / "google", *arguments)
    assert files_of(answers.make_write_predictions(run_squad), tmp_path / "ours", *arguments) == expected


@pytest.mark.parametrize("what", ["nan", "infinite", "verbose", "numbers as ids", "a gap in a window"])
def test_unusual_is_left_to_google(run_squad: Any, data: Any, what: str, tmp_path: Path) -> None:  # noqa: F811
    examples, features, lower = data
    results = results_of(run_squad, features, normal)
    if what in ("nan", "infinite"):
        results[5].start_logits[3] = float(what if what == "nan" else "inf")
    elif what == "a gap in a window":
        del features[5].token_to_orig_map[sorted(features[5].token_to_orig_map)[3]]
    elif what == "verbose":
        run_squad.FLAGS.verbose_logging = True
    else:
        for i, example in enumerate(examples):
            example.qas_id = i
    called = []
    original = run_squad.write_predictions
    run_squad.write_predictions = lambda *arguments: called.append(original(*arguments))
    ours = answers.make_write_predictions(run_squad)
    arguments = (examples, features, results, 20, 30, lower)
    assert files_of(ours, tmp_path / "ours", *arguments) == files_of(original, tmp_path / "google", *arguments)
    assert len(called) == 1


def test_a_missing_result_is_an_error(run_squad: Any, data: Any, tmp_path: Path) -> None:  # noqa: F811
    examples, features, lower = data
    results = results_of(run_squad, features, normal)[1:]
    with pytest.raises(KeyError):
        files_of(answers.make_write_predictions(run_squad), tmp_path / "ours", examples, features, results, 20, 30, lower)


def test_best_indexes(run_squad: Any) -> None:  # noqa: F811
    rng = np.random.default_rng(1)
    logits = np.concatenate([rng.normal(size=(50, 40)), rng.integers(-1, 2, (200, 40)), np.zeros((3, 40)), -np.zeros((1, 40))])
    for n in (1, 5, 39, 40, 50):
        expected = [run_squad._get_best_indexes(row.tolist(), n) for row in logits]
        assert candidates.best_indexes(logits, n).tolist() == expected


@needs_shared
@pytest.mark.parametrize(
    "name, version_2", [("xquad.en.json", False), *([("dev-v1.1.json", False), ("dev-v2.0.json", True)] if ALL else [])]
)
def test_all_questions(run_squad: Any, tmp_path: Path, name: str, version_2: bool) -> None:  # noqa: F811
    run_squad.FLAGS.version_2_with_negative = version_2
    google = run_squad.tokenization.FullTokenizer(str(VOCAB))
    examples = run_squad.read_squad_examples(str(SHARED / "data" / "squad" / name), False)
    convert = squad_features.make_convert_examples_to_features(run_squad)
    features = features_of(run_squad, convert, examples, google, 384, 128, 64)
    # Where nothing but "no answer" is found, Google's code for SQuAD 2.0 fails.
    for logits in (normal,) if version_2 else (normal, peaks):
        arguments = (examples, features, results_of(run_squad, features, logits), 20, 30, True)
        expected = files_of(run_squad.write_predictions, tmp_path / "google", *arguments)
        assert files_of(answers.make_write_predictions(run_squad), tmp_path / "ours", *arguments) == expected
