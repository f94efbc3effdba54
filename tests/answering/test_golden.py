"""A real fine-tuned model on real questions: what unmodified Google code answered."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.wrap import tiny_model
from tf_fastbert.answering import QuestionAnswerer
from tf_fastbert.pipeline.squad_features import split_paragraph

SHARED = tiny_model.REPO.parent / "shared"
MODEL = SHARED / "models" / "minilm_l6_squad_mrpc"
XQUAD = SHARED / "data" / "squad" / "xquad.en.json"
ARTICLES, PARAGRAPHS = slice(None, None, 6), 2

pytestmark = pytest.mark.skipif(not (MODEL.is_dir() and XQUAD.is_file()), reason="needs ../shared/models and ../shared/data")


def test_xquad(google: types.ModuleType, tmp_path: Path) -> None:
    """About 80 questions, from all over the file, as a SQuAD file and one by one."""
    golden = json.loads((MODEL / "golden" / "xquad_predictions.json").read_text())
    data = json.loads(XQUAD.read_text())["data"][ARTICLES]
    for article in data:
        article["paragraphs"] = article["paragraphs"][:PARAGRAPHS]
    (tmp_path / "slice.json").write_text(json.dumps({"version": "1.1", "data": data}))
    answerer = QuestionAnswerer.load(str(MODEL), run_squad=google)
    assert answerer.do_lower_case and answerer.files.floatx == "float32"
    predictions = answerer.predict(answerer.read_squad(str(tmp_path / "slice.json")))
    assert len(predictions) > 60
    assert predictions == {key: golden[key] for key in predictions}
    for article in data[:2]:
        passage, questions = article["paragraphs"][0]["context"], article["paragraphs"][0]["qas"]
        for question, reply in zip(questions, answerer.ask_all(passage, [qa["question"] for qa in questions])):
            assert reply.text == golden[question["id"]]
            assert " ".join(split_paragraph(passage[reply.best.start : reply.best.end])) == reply.text
            assert sum(answer.probability for answer in reply.answers) == pytest.approx(1)
