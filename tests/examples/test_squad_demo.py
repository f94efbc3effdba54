"""The parts of examples/squad_demo.py that need no training."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from tf_fastbert.checkpoint import write_checkpoint

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "squad_demo.py"


@pytest.fixture(scope="module")
def demo():
    spec = importlib.util.spec_from_file_location("squad_demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table(demo):
    rows = [demo.Row("stock graph", 50.0, 61.234, 12.5, None), demo.Row("op, padding removed", 50.0, 61.234, 37.5, 2)]
    lines = demo.table(rows, 80).splitlines()
    assert lines[0].split() == ["exact", "match", "F1", "questions/s", "differing", "answers"]
    assert lines[2].split() == ["stock", "graph", "50.00", "61.23", "12.50"]
    assert lines[3].split() == ["op,", "padding", "removed", "50.00", "61.23", "37.50", "2", "of", "80"]
    assert "3.00 times" in lines[-1]


def test_rows_count_questions_not_windows(demo, tmp_path):
    (tmp_path / "predictions.json").write_text(json.dumps({"1": "red"}))
    (tmp_path / "fastbert_timing.json").write_text(json.dumps({"examples": 4, "examples_per_second": 10.0}))
    questions = [demo.Question("1", ["red"]), demo.Question("2", ["blue"])]
    assert demo._row("op", tmp_path, questions, 0, False) == demo.Row("op", 50.0, 50.0, 5.0, 0)
    questions[1] = demo.Question("2", [])
    assert demo._row("op", tmp_path, questions, 0, True).exact_match == 50.0


@pytest.mark.parametrize("words, cased", [(["[CLS]", "the", "##ing"], False), (["[CLS]", "the", "Berlin"], True)])
def test_casing_is_read_from_the_vocabulary(demo, tmp_path, words, cased):
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    assert demo.is_cased(tmp_path / "vocab.txt") == cased


@pytest.mark.parametrize("arguments", [["--checkpoint_dir=x"], ["--predict_file=x"], ["--predict_batch_size=0"]])
def test_wrong_arguments(demo, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        demo.parse_arguments(arguments)
    assert caught.value.code == 2
    assert arguments[0].split("=")[0] in capsys.readouterr().err.splitlines()[-1]


def test_find_model_names_what_is_missing(demo, tmp_path):
    with pytest.raises(demo.DemoError, match="bert_config.json does not exist"):
        demo.find_model(tmp_path)
    for name in ("bert_config.json", "vocab.txt"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(demo.DemoError, match="no checkpoint in directory"):
        demo.find_model(tmp_path)
    write_checkpoint(str(tmp_path / "model.ckpt-9"), {"w": np.ones(2, np.float32)})
    with pytest.raises(demo.DemoError, match="no BERT in Google's format"):
        demo.find_model(tmp_path)
    write_checkpoint(str(tmp_path / "model.ckpt-9"), {"bert/embeddings/word_embeddings": np.ones((5, 2), np.float16)})
    assert demo.find_model(tmp_path) == demo.Model(str(tmp_path / "model.ckpt-9"), "float16", tmp_path)


def test_training_settings_fit_the_question_set(demo):
    # Google's code drops the last partial batch's worth of steps; none is lost here.
    questions = len(demo.load_questions(str(demo.DATA / "questions_train.json")))
    assert questions % demo.TRAINING_FLAGS["train_batch_size"] == 0
