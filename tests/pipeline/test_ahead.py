"""Features and answers made in other processes: the same files as without, and the way back where something is different."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import WORDS, run_squad, tf1, write_vocab  # noqa: F401
from tf_fastbert import pipeline
from tf_fastbert.pipeline import ahead

LENGTH, STRIDE, QUERY = 48, 16, 12


def write_questions(path: Path, count: int = 500) -> Path:
    """More than a worker looks at together, some paragraphs longer than a window, one without questions."""
    import json

    rng = np.random.default_rng(3)
    paragraphs = []
    for index in range(count // 4):
        words = rng.choice(WORDS, int(rng.integers(3, 90)))
        qas = [{"id": f"q{index}-{i}", "question": " ".join(rng.choice(WORDS, 6)) + "?"} for i in range(4)]
        paragraphs.append({"context": " ".join(words), "qas": qas})
    paragraphs.insert(2, {"context": "nobody asks", "qas": []})
    path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def google_main(module: types.ModuleType, folder: Path, length: int = LENGTH, change: Any = None) -> dict[str, bytes]:
    """What run_squad.main does around the estimator; returns the files. `change`: of a batch, before it is predicted."""
    tokenizer = module.tokenization.FullTokenizer(vocab_file=str(folder / "vocab.txt"), do_lower_case=True)
    examples = module.read_squad_examples(input_file=str(folder / "questions.json"), is_training=False)
    writer = module.FeatureWriter(filename=str(folder / "eval.tf_record"), is_training=False)
    features: list[Any] = []

    def append(feature: Any) -> None:
        features.append(feature)
        writer.process_feature(feature)

    module.convert_examples_to_features(
        examples=examples, tokenizer=tokenizer, max_seq_length=length, doc_stride=STRIDE, max_query_length=QUERY,
        is_training=False, output_fn=append,
    )  # fmt: skip
    writer.close()
    rng = np.random.default_rng(0)
    results = []
    for begin in range(0, len(features), 100):
        ids = np.array([feature.unique_id for feature in features[begin : begin + 100]], np.int32)
        start, end = (rng.standard_normal((len(ids), length)).astype(np.float32) for _ in range(2))
        batch = {"unique_ids": ids, "start_logits": start, "end_logits": end}
        ahead.give(batch if change is None else change(batch))
        results += [
            module.RawResult(unique_id=int(i), start_logits=[float(x) for x in s], end_logits=[float(x) for x in e])
            for i, s, e in zip(ids, start, end)
        ]
    names = ["predictions.json", "nbest_predictions.json", "null_odds.json"]
    files = [str(folder / name) for name in names]
    flags = module.FLAGS
    module.write_predictions(
        examples, features, results, flags.n_best_size, flags.max_answer_length, flags.do_lower_case, *files
    )
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in (*names, "eval.tf_record")}


def without(module: types.ModuleType, folder: Path, **options: Any) -> dict[str, bytes]:
    """The files of the same pipeline with no process beside, which other tests compare with Google's."""
    with pipeline.patched(module):
        return google_main(module, folder, **options)


@pytest.fixture
def folder(tmp_path: Path, run_squad: Any) -> Path:  # noqa: F811
    write_vocab(tmp_path / "vocab.txt")
    write_questions(tmp_path / "questions.json")
    vars(run_squad.FLAGS).update(n_best_size=20, max_answer_length=30, do_lower_case=True)
    return tmp_path


def arguments(module: types.ModuleType, folder: Path) -> ahead.Arguments:
    bert = str(Path(module.tokenization.__file__).parent)
    return ahead.Arguments(bert, str(folder / "vocab.txt"), True, str(folder / "questions.json"), LENGTH, STRIDE, QUERY)


@pytest.mark.parametrize("version_2", [False, True])
@pytest.mark.parametrize("processes", [1, 3])
def test_the_same_files(run_squad: Any, folder: Path, version_2: bool, processes: int, monkeypatch: Any) -> None:  # noqa: F811
    run_squad.FLAGS.version_2_with_negative = version_2
    wanted = without(run_squad, folder)
    assert ("null_odds.json" in wanted) == version_2
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 2 * processes)
    seen = []
    original = ahead._Work.receive_features
    monkeypatch.setattr(ahead._Work, "receive_features", lambda self, module: (seen.append(self), original(self, module))[1])
    answered = []
    answers = ahead.answers
    monkeypatch.setattr(ahead, "answers", lambda *args: answered.append(answers(*args)) or answered[-1])
    with pipeline.patched(run_squad), ahead.begun(arguments(run_squad, folder)):
        got = google_main(run_squad, folder)
    assert len(seen) == 1 and len(seen[0].workers) == processes
    assert answered[0] is not None, "the answers were not found ahead"
    assert all(worker._process.returncode is not None for worker in seen[0].workers)
    assert got == wanted


def other_length(module: types.ModuleType, folder: Path) -> dict[str, Any]:
    return {"length": LENGTH + 16}


def half_logits(module: types.ModuleType, folder: Path) -> dict[str, Any]:
    return {"change": lambda batch: {**batch, "start_logits": batch["start_logits"].astype(np.float64)}}


def no_logits(module: types.ModuleType, folder: Path) -> dict[str, Any]:
    return {"change": lambda batch: [1, 2]}


def a_lost_batch(module: types.ModuleType, folder: Path) -> dict[str, Any]:
    calls: list[int] = []

    def change(batch: Any) -> Any:
        calls.append(1)
        return {name: value[:-1] for name, value in batch.items()} if len(calls) == 2 else batch

    return {"change": change}


@pytest.mark.parametrize("way", [other_length, half_logits, no_logits, a_lost_batch])
def test_done_here_where_something_is_different(run_squad: Any, folder: Path, way: Any) -> None:  # noqa: F811
    options = way(run_squad, folder)
    wanted = without(run_squad, folder, **{name: value for name, value in options.items() if name == "length"})
    with pipeline.patched(run_squad), ahead.begun(arguments(run_squad, folder)):
        assert google_main(run_squad, folder, **options) == wanted
        assert ahead._work is None


def test_a_process_that_dies(run_squad: Any, folder: Path) -> None:  # noqa: F811
    wanted = without(run_squad, folder)

    def kill(batch: Any) -> Any:
        if ahead._work is not None:
            ahead._work.workers[0]._process.kill()
        return batch

    with pipeline.patched(run_squad), ahead.begun(arguments(run_squad, folder)):
        assert google_main(run_squad, folder, change=kill) == wanted
    with pipeline.patched(run_squad), ahead.begun(arguments(run_squad, folder)):
        ahead._work.workers[0]._process.kill()
        assert google_main(run_squad, folder) == wanted


def test_an_unreadable_file_is_left_to_google(run_squad: Any, folder: Path) -> None:  # noqa: F811
    (folder / "questions.json").write_text("{}")
    with pipeline.patched(run_squad), ahead.begun(arguments(run_squad, folder)):
        with pytest.raises(KeyError):
            google_main(run_squad, folder)


def test_a_changed_main(run_squad: Any, folder: Path) -> None:  # noqa: F811
    run_squad.main = lambda _: None
    wanted = without(run_squad, folder)
    with pipeline.patched(run_squad), ahead.begun(arguments(run_squad, folder)):
        assert google_main(run_squad, folder) == wanted
        assert ahead._work is None
