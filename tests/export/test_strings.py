"""The signature that takes text: Google's tokens, windows, truncation and answers, in the graph."""

from __future__ import annotations

import builtins
import random
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.export.models import export_tiny
from tests.pipeline.google_scripts import run_classifier, run_squad, tf1  # noqa: F401 (fixtures)
from tests.wrap import tiny_model
from tf_fastbert import export

SIZES = {"max_seq_length": 32, "max_query_length": 8, "doc_stride": 9, "max_answer_length": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strings")
    tiny_model.write_model(folder)
    return folder


def load(path: Path) -> Any:
    loaded = tf.saved_model.load(str(path))
    loaded.signatures["strings"].keep = loaded
    return loaded.signatures


def sentence(rng: random.Random, longest: int) -> str:
    return "".join(rng.choice(["The", *tiny_model.WORDS]) + rng.choice([" ", " ", "  ", "\n"]) for _ in range(rng.randint(1, longest)))


def test_without_tensorflow_text_it_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def fail(name: str, *arguments: Any) -> Any:
        if name == "tensorflow_text":
            raise ImportError("No module named 'tensorflow_text'")
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(export.ExportError, match=r"needs tensorflow-text for TensorFlow \d\.\d+, which cannot .*'tensorflow-text=="):
        export_tiny(folder, tmp_path / "model", inputs="strings")
    assert not (tmp_path / "model").exists()


def test_answers_are_run_squads(tf1: Any, run_squad: types.ModuleType, folder: Path, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("tensorflow_text", reason="tensorflow-text is not installed")
    from tf_fastbert.batch import answerer
    from tf_fastbert.batch.rows import Row

    export_tiny(folder, tmp_path / "model", inputs="strings", **SIZES)
    signatures = load(tmp_path / "model")
    rng = random.Random(9)
    # Passages of one window and of many, one that is empty, one with bytes that are no ASCII.
    contexts = [sentence(rng, 1 + 12 * i % 90) for i in range(40)] + ["", "the old É river the boat sings 東京 on the mat"]
    questions = [sentence(rng, 12) for _ in contexts]
    outputs = {
        name: value.numpy()
        for name, value in signatures["strings"](question=tf.constant(questions), context=tf.constant(contexts)).items()
    }

    def call(*arrays: np.ndarray) -> list[np.ndarray]:
        names = ("input_ids", "input_mask", "segment_ids")
        values = signatures["serving_default"](**dict(zip(names, map(tf.constant, arrays))))
        return [values[name].numpy() for name in ("start_logits", "end_logits")]

    settings = export.read_settings(str(tmp_path / "model"))
    # All positions are looked at, as in the graph.
    options = answerer.Options(n_best_size=32, version_2_with_negative=False)
    task = answerer.make(call, run_squad, str(tmp_path / "model"), settings, options)
    want = task.answer([Row(i, question, context) for i, (question, context) in enumerate(zip(questions, contexts))])
    for i, (context, expected) in enumerate(zip(contexts, want)):
        text = outputs["answer"][i].decode()
        assert context.encode()[outputs["begin"][i] : outputs["end"][i]].decode() == text
        assert " ".join(text.split()) == ("" if not context else expected["answer"]), (i, context)
    assert outputs["score"][40] == -np.inf and np.isfinite(np.delete(outputs["score"], 40)).all()
    assert outputs["null_score"].shape == (len(contexts),)
    alone = signatures["strings"](question=tf.constant(questions[5:6]), context=tf.constant(contexts[5:6]))
    np.testing.assert_allclose(alone["score"], outputs["score"][5:6], rtol=1e-5)


def test_pairs_are_cut_as_run_classifier_cuts(
    tf1: Any, run_classifier: types.ModuleType, folder: Path, tmp_path: Path  # noqa: F811
) -> None:
    pytest.importorskip("tensorflow_text", reason="tensorflow-text is not installed")
    export_tiny(folder, tmp_path / "model", task="classifier", inputs="strings", max_seq_length=20)
    signatures = load(tmp_path / "model")
    rng = random.Random(5)
    pairs = [(sentence(rng, 30), rng.choice(["", sentence(rng, 30)])) for _ in range(60)]
    got = signatures["strings"](**{name: tf.constant(texts) for name, texts in zip(("text_a", "text_b"), zip(*pairs))})
    tokenizer = run_classifier.tokenization.FullTokenizer(str(folder / "vocab.txt"))
    features = [
        run_classifier.convert_single_example(9, run_classifier.InputExample(0, a, b, ""), [""], 20, tokenizer) for a, b in pairs
    ]
    want = signatures["serving_default"](
        **{
            name: tf.constant([getattr(feature, name) for feature in features], tf.int32)
            for name in ("input_ids", "input_mask", "segment_ids")
        }
    )
    np.testing.assert_allclose(got["probabilities"], want["probabilities"], rtol=1e-5)
