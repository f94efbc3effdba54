"""The SQuAD scores: the published ones exactly, and the rules on small cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tf_fastbert.evaluation import squad_v1_1, squad_v2_0
from tf_fastbert.evaluation.files import EvaluationError, Question, load_predictions, load_probabilities, load_questions
from tf_fastbert.evaluation.text import exact_match, f1, normalise

SQUAD = Path(__file__).resolve().parents[3] / "shared" / "data" / "squad"


def published(name: str) -> dict:
    if not (SQUAD / "predictions" / "expected_scores.json").exists():
        pytest.skip("../shared/data/squad/predictions is not here")
    return json.loads((SQUAD / "predictions" / "expected_scores.json").read_text())[name]


@pytest.mark.parametrize("name", ["v1.1_bert_ensemble.json", "v1.1_logreg_baseline.json"])
def test_published_v1_1_scores(name):
    expected = published(name)
    questions = load_questions(SQUAD / "dev-v1.1.json")
    scores = squad_v1_1.evaluate(questions, load_predictions(SQUAD / "predictions" / name))
    assert len(questions) == expected["total"]
    assert scores.exact_match == expected["exact_match"]
    assert scores.f1 == expected["f1"]
    assert len(scores.unanswered) == expected["unanswered"]


def test_published_v2_0_scores():
    name = "v2.0_bert_single.json"
    expected = published(name)
    scores, unanswered = squad_v2_0.evaluate(
        load_questions(SQUAD / "dev-v2.0.json"), load_predictions(SQUAD / "predictions" / name)
    )
    assert {key: scores[key] for key in expected} == expected
    assert scores["HasAns_total"] + scores["NoAns_total"] == scores["total"]
    assert not unanswered


def test_normalisation():
    assert normalise("  The Quick,  brown\tfox's a-n den! ") == "quick brown foxs den"
    assert normalise("a an the") == ""
    assert normalise("theatre another") == "theatre another"
    assert exact_match("The Danube.", "danube")
    assert not exact_match("Danube river", "Danube")


def test_f1():
    assert f1("the Black Sea", "Black Sea") == 1.0
    assert f1("in the Black Sea", "Black Sea") == pytest.approx(0.8)
    assert f1("north", "south") == 0.0
    # A word counts as often as it occurs in both.
    assert f1("no no no", "no") == pytest.approx(0.5)
    assert f1("", "word") == 0.0


def test_v1_takes_the_best_reference_and_counts_the_unanswered_as_zero():
    questions = [Question("1", ["red", "a red scarf"]), Question("2", ["Mainz"])]
    scores = squad_v1_1.evaluate(questions, {"1": "red scarf", "other": "x"})
    assert scores == squad_v1_1.Scores(50.0, 50.0, ["2"])


def test_v1_refuses_questions_without_answers():
    with pytest.raises(EvaluationError, match="question 7 has no reference answer.*v2_0"):
        squad_v1_1.evaluate([Question("7", [])], {"7": ""})


V2 = [Question("a", ["red"]), Question("b", ["blue"]), Question("c", []), Question("d", [])]


def test_v2_counts_empty_predictions():
    scores, unanswered = squad_v2_0.evaluate(V2, {"a": "red", "b": "", "c": "", "d": "green"})
    assert scores["exact"] == scores["f1"] == 50.0
    assert (scores["HasAns_exact"], scores["HasAns_total"], scores["NoAns_exact"], scores["NoAns_total"]) == (50.0, 2, 50.0, 2)
    assert not unanswered
    scores, unanswered = squad_v2_0.evaluate(V2, {"a": "red"})
    assert scores["exact"] == 25.0 and unanswered == ["b", "c", "d"]


def test_v2_threshold_and_best_threshold():
    predictions = {"a": "red", "b": "blue", "c": "green", "d": "grey"}
    probabilities = {"a": 0.1, "b": 0.7, "c": 0.5, "d": 0.9}
    scores, _ = squad_v2_0.evaluate(V2, predictions, probabilities)
    assert scores["exact"] == 50.0  # The default threshold 1.0 changes nothing.
    # "No answer" everywhere gives 2; with a 3, with c 2, with b 3 again (not better), with d 2.
    assert (scores["best_exact"], scores["best_exact_thresh"]) == (75.0, 0.1)
    assert (scores["best_f1"], scores["best_f1_thresh"]) == (75.0, 0.1)
    scores, _ = squad_v2_0.evaluate(V2, predictions, probabilities, threshold=0.4)
    assert scores["exact"] == 75.0 and scores["HasAns_exact"] == 50.0 and scores["NoAns_exact"] == 100.0
    with pytest.raises(EvaluationError, match="1 questions, the first is d"):
        squad_v2_0.evaluate(V2, predictions, {"a": 0.0, "b": 0.0, "c": 0.0})


def test_v2_without_a_prediction_is_zero_whatever_its_probability():
    scores, unanswered = squad_v2_0.evaluate([Question("c", [])], {}, {"c": 5.0})
    assert scores["exact"] == 0.0 and unanswered == ["c"]


def squad(*qas) -> str:
    return json.dumps({"version": "1.1", "data": [{"paragraphs": [{"context": "c", "qas": list(qas)}]}]})


QA = {"id": "1", "question": "?", "answers": [{"text": "c", "answer_start": 0}]}


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "cannot be read: No such file"),
        ("", "file.json is empty"),
        (" \n", "file.json is empty"),
        ("{", "file.json is not valid JSON"),
        ("[1]", "file.json is not a SQuAD file"),
        ("{}", "not a SQuAD file: no 'data'"),
        ('{"data": [{"title": "x"}]}', "not a SQuAD file: no 'paragraphs'"),
        (squad({"id": "1", "question": "?"}), "not a SQuAD file: no 'answers'"),
        ('{"data": []}', "file.json holds no questions"),
        (squad(), "file.json holds no questions"),
        (squad(QA, QA), "the id '1' occurs more than once"),
    ],
)
def test_bad_dataset_is_named(tmp_path, content, message):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EvaluationError, match=message):
        load_questions(path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "is empty"),
        ("[]", "not a JSON object .*holds a list"),
        ('{"1": 5}', "the value of '1' is 5, not an answer text"),
        ('{"1": ["a"]}', "not an answer text"),
    ],
)
def test_bad_predictions_are_named(tmp_path, content, message):
    path = tmp_path / "file.json"
    path.write_text(content)
    with pytest.raises(EvaluationError, match=message):
        load_predictions(path)
    path.write_text('{"1": "x"}')
    with pytest.raises(EvaluationError, match="not a number"):
        load_probabilities(path)
