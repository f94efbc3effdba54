"""QuestionAnswerer on a tiny model: the answers of run_squad_wrap.py, in every type."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.answering.conftest import SIZES
from tests.quantization.tiny_quantized import write_ranges
from tests.wrap import tiny_model
from tests.wrap.many_runs import run_many
from tf_fastbert.answering import QuestionAnswerer, QuestionError, Settings
from tf_fastbert.checkpoint import write_checkpoint
from tf_fastbert.checkpoint.cast import cast_checkpoint
from tf_fastbert.pipeline.squad_features import split_paragraph
from tf_fastbert.quantization.convert import quantize_checkpoint
from tf_fastbert.wrap.errors import WrapError

# Name -> checkpoint, what load takes, and the wrapper's flags for the same.
VARIANTS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "float32": ("bert_model.ckpt", {}, []),
    "float16": ("half.ckpt", {}, ["--floatx=float16"]),
    "bfloat16": ("brain.ckpt", {"floatx": "bfloat16"}, ["--floatx=bfloat16"]),
    "int8": ("int8.ckpt", {"int8_mode": 1}, ["--int8_mode=1"]),
    "fp8": ("fp8.ckpt", {"precision": "fp8"}, ["--precision=fp8"]),
    "squad 2.0": ("bert_model.ckpt", {}, ["--version_2_with_negative=true", "--null_score_diff_threshold=-1.0"]),
}


@pytest.fixture(scope="module")
def checkpoints(folder: Path) -> Path:
    source = str(folder / "bert_model.ckpt")
    for name, dtype in (("half", "float16"), ("brain", "bfloat16")):
        cast_checkpoint(source, str(folder / f"{name}.ckpt"), dtype)
    calibrated = write_ranges(folder, "calibrated.ckpt")
    for name, mode in (("int8", 1), ("fp8", "fp8")):
        quantize_checkpoint(calibrated, str(folder / f"{name}.ckpt"), mode)
    return folder


@pytest.fixture(scope="module")
def wrapper_outputs(checkpoints: Path) -> dict[str, Path]:
    """Output directories of run_squad_wrap.py."""
    lines = [
        [
            *tiny_model.model_flags(checkpoints, checkpoint),
            *(f"--{flag}={value}" for flag, value in SIZES.items()),
            *("--do_predict=true", f"--predict_file={checkpoints}/squad.json", "--predict_batch_size=4", "--remove_padding"),
            f"--output_dir={checkpoints}/{name}",
            *flags,
        ]
        for name, (checkpoint, _, flags) in VARIANTS.items()
    ]
    for ended in run_many("run_squad_wrap", lines):
        assert ended.status == 0, ended.output[-4000:]
    return {name: checkpoints / name for name in VARIANTS}


def load(folder: Path, google: types.ModuleType, name: str = "float32", **settings: Any) -> QuestionAnswerer:
    checkpoint, options, _ = VARIANTS[name]
    if name == "squad 2.0":
        settings |= {"version_2_with_negative": True, "null_score_diff_threshold": -1.0}
    return QuestionAnswerer.load(str(folder / checkpoint), run_squad=google, settings=Settings(**{**SIZES, **settings}), **options)


def paragraphs(folder: Path) -> list[Any]:
    return json.loads((folder / "squad.json").read_text())["data"][0]["paragraphs"]


@pytest.mark.parametrize("name", VARIANTS)
def test_same_answers_as_the_wrapper(
    name: str, wrapper_outputs: dict[str, Path], checkpoints: Path, google: types.ModuleType
) -> None:
    answerer = load(checkpoints, google, name, batch_size=3)
    expected = json.loads((wrapper_outputs[name] / "predictions.json").read_text())
    assert answerer.predict(answerer.read_squad(str(checkpoints / "squad.json"))) == expected
    n_best = json.loads((wrapper_outputs[name] / "nbest_predictions.json").read_text())
    odds = json.loads((wrapper_outputs[name] / "null_odds.json").read_text()) if name == "squad 2.0" else {}
    for paragraph in paragraphs(checkpoints):
        passage, qa = paragraph["context"], paragraph["qas"][0]
        reply = answerer.ask(passage, qa["question"])
        assert reply.text == expected[qa["id"]]
        assert [answer.text for answer in reply.answers] == [entry["text"] for entry in n_best[qa["id"]]]
        # The model saw other batches of other lengths there.
        for key in ("probability", "start_logit", "end_logit"):
            np.testing.assert_allclose(
                [getattr(answer, key) for answer in reply.answers], [entry[key] for entry in n_best[qa["id"]]], atol=0.02
            )
        for answer in reply.answers:
            if not answer.text:
                assert name == "squad 2.0" and answer.start is answer.end is None
            else:
                assert " ".join(split_paragraph(passage[answer.start : answer.end])) == answer.text
        if odds:
            assert reply.null_score_diff == pytest.approx(odds[qa["id"]], abs=1e-3)
        assert (reply.best is None) == (reply.text == "")
    if name == "squad 2.0":  # the test would see nothing otherwise
        assert "" in expected.values() and any(expected.values())


def test_stock_and_op_agree(tiny: QuestionAnswerer, folder: Path, google: types.ModuleType) -> None:
    stock = QuestionAnswerer.load(str(folder), run_squad=google, settings=tiny.settings, stock=True)
    examples = tiny.read_squad(str(folder / "squad.json"))
    assert stock.predict(examples) == tiny.predict(examples)
    ids = np.array([[2, 5, 6, 7, 3, 8, 9, 10, 3]], np.int32)
    ones = np.ones_like(ids)
    for ours, googles in zip(tiny._model(ids, ones, ones), stock._model(ids, ones, ones)):
        np.testing.assert_allclose(ours, googles, atol=1e-5, rtol=1e-5)
    operations = {op.type for op in google.tf.get_default_graph().get_operations()}
    assert not operations  # both were built in graphs of their own


def test_several_questions_at_once(tiny: QuestionAnswerer, folder: Path) -> None:
    passage = paragraphs(folder)[-1]["context"]
    questions = ["where is the cat ?", "who sings", "where is the cat ?"]
    replies = tiny.ask_all(passage, questions)
    assert [reply.question for reply in replies] == questions
    for question, reply in zip(questions, replies):
        alone = tiny.ask(passage, question)
        assert alone.text == reply.text and alone.windows == reply.windows > 1
        assert len(reply.answers) == len(alone.answers) > 1
    assert tiny.ask_all(passage, []) == []
    latency = replies[0].latency
    assert min(latency.tokenize_ms, latency.model_ms, latency.postprocess_ms) > 0
    assert latency.total_ms == pytest.approx(latency.tokenize_ms + latency.model_ms + latency.postprocess_ms)
    best = replies[0].best
    assert best.score == best.start_logit + best.end_logit


def test_n_best_size(tiny: QuestionAnswerer, folder: Path, google: types.ModuleType) -> None:
    passage = paragraphs(folder)[-1]["context"]
    few = load(folder, google, n_best_size=2)
    reply = few.ask(passage, "who sings")
    assert 1 <= len(reply.answers) <= 2
    assert sum(answer.probability for answer in reply.answers) == pytest.approx(1)


@pytest.mark.parametrize(
    "passage, question, message",
    [
        ("", "who sings ?", "the passage is empty"),
        (" \n\t ", "who sings ?", "the passage is empty"),
        ("\u200b \x00", "who sings ?", "the passage has no text that the tokenizer keeps"),
        ("the cat sings .", "", "the question is empty"),
        ("the cat sings .", " \n", "the question is empty"),
        ("the cat sings .", "who " * 17, r"the question has 17 tokens, 16 are possible \(--max_query_length\): shorten it: 'who who"),
    ],
)
def test_mistakes(tiny: QuestionAnswerer, passage: str, question: str, message: str) -> None:
    with pytest.raises(QuestionError, match=message):
        tiny.ask(passage, question)


def test_squad_file_keeps_googles_ways(tiny: QuestionAnswerer, google: types.ModuleType, folder: Path) -> None:
    """Long questions are cut, and a paragraph without a word is answered "empty"; with SQuAD 2.0 "no answer"."""
    Example = google.SquadExample
    examples = [
        Example("cut", "who " * 17 + "sings", ["the", "cat", "sings"]),
        Example("same", "who " * 16, ["the", "cat", "sings"]),
        Example("nothing", "who sings", []),
    ]
    predictions = tiny.predict(examples)
    assert predictions["cut"] == predictions["same"] != "empty"
    assert predictions["nothing"] == "empty"
    assert load(folder, google, "squad 2.0").predict(examples)["nothing"] == ""
    assert tiny.predict([]) == {}


def test_logits_that_are_not_finite(tmp_path: Path, google: types.ModuleType) -> None:
    tiny_model.write_model(tmp_path)
    values = tiny_model.variables()
    values["cls/squad/output_bias"][:] = np.nan
    write_checkpoint(str(tmp_path / "bert_model.ckpt"), values)
    with pytest.raises(WrapError, match="bert_model.ckpt: the model's logits are not finite numbers"):
        load(tmp_path, google).ask("the cat sings .", "who sings ?")


def test_files_that_are_missing_or_wrong(folder: Path, checkpoints: Path, tmp_path: Path, google: types.ModuleType) -> None:
    def message(path: Path, **options: Any) -> str:
        with pytest.raises(WrapError) as caught:
            QuestionAnswerer.load(str(path), run_squad=google, settings=Settings(**SIZES), **options)
        return str(caught.value)

    assert message(tmp_path / "nowhere" / "x.ckpt").startswith(f"--init_checkpoint: no checkpoint {tmp_path}/nowhere/x.ckpt")
    assert "holds no .index file" in message(tmp_path)
    for suffix in ("index", "data-00000-of-00001"):
        shutil.copy(folder / f"bert_model.ckpt.{suffix}", tmp_path)
    assert f"{tmp_path}/bert_config.json does not exist" in message(tmp_path)
    assert "name the file with --bert_config_file" in message(tmp_path)
    config = str(folder / "bert_config.json")
    assert f"{tmp_path}/vocab.txt does not exist" in message(tmp_path, bert_config_file=config)
    assert "float16" in message(folder / "bert_model.ckpt", floatx="float16")
    assert "--int8_mode=1" in message(folder / "bert_model.ckpt", int8_mode=1)
    assert "is an int8 checkpoint, which does not go with --int8_mode=0" in message(checkpoints / "int8.ckpt")
    assert "Google's own encoder needs a float32 checkpoint" in message(checkpoints / "half.ckpt", stock=True)
    assert "it is no BERT" in message(_checkpoint_of(tmp_path / "other.ckpt", {"w": np.ones(2, np.float32)}, folder))
    values = tiny_model.variables()
    del values["cls/squad/output_weights"], values["cls/squad/output_bias"]
    assert "has not been fine-tuned" in message(_checkpoint_of(tmp_path / "plain.ckpt", values, folder))


def _checkpoint_of(prefix: Path, values: dict[str, np.ndarray], folder: Path) -> Path:
    for name in ("bert_config.json", "vocab.txt"):
        shutil.copy(folder / name, prefix.parent)
    write_checkpoint(str(prefix), values)
    return prefix


def test_a_changed_copy_of_google_s_code_is_refused(folder: Path, google: types.ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setattr(google, "get_final_text", lambda *arguments: "x")
    with pytest.raises(WrapError, match="get_final_text is not as Google wrote it"):
        load(folder, google)
