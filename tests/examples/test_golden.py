"""A real fine-tuned model on real questions, through the wrappers, against what unmodified Google code answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.wrap import tiny_model
from tf_fastbert.evaluation import squad_v1_1
from tf_fastbert.evaluation.files import load_predictions, load_questions

SHARED = tiny_model.REPO.parent / "shared"
MODEL = SHARED / "models" / "minilm_l6_squad_mrpc"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MODEL.is_dir(), reason="needs ../shared/models and ../shared/data")]


def metrics(path: Path) -> dict[str, float]:
    return {name: float(value) for name, value in (line.split(" = ") for line in path.read_text().splitlines())}


def test_xquad(tmp_path: Path) -> None:
    """All of XQuAD-en, float32, padding removed: EM and F1 within 0.1 of the golden run, at most 2 of 1,190 answers different."""
    data = SHARED / "data" / "squad" / "xquad.en.json"
    result = tiny_model.run(
        "run_squad_wrap",
        *tiny_model.model_flags(MODEL),
        "--do_predict=true",
        f"--predict_file={data}",
        "--max_seq_length=384",
        "--doc_stride=128",
        f"--output_dir={tmp_path}",
        "--remove_padding=true",
    )
    assert result.returncode == 0, result.stderr[-4000:]
    questions = load_questions(str(data))
    golden, ours = (
        load_predictions(str(path)) for path in (MODEL / "golden" / "xquad_predictions.json", tmp_path / "predictions.json")
    )
    assert golden.keys() == ours.keys()
    assert sum(golden[key] != ours[key] for key in golden) <= 2
    for expected, found in zip(squad_v1_1.evaluate(questions, golden)[:2], squad_v1_1.evaluate(questions, ours)[:2]):
        assert found == pytest.approx(expected, abs=0.1)
    # 1,190 questions are 1,232 features at this length and stride.
    assert json.loads((tmp_path / "fastbert_timing.json").read_text())["examples"] == 1232


def test_mrpc(tmp_path: Path) -> None:
    """The MRPC dev set: the same accuracy to one example of 408."""
    data = SHARED / "data" / "glue" / "MRPC"
    result = tiny_model.run(
        "run_classifier_wrap",
        *tiny_model.model_flags(MODEL),
        "--task_name=MRPC",
        f"--data_dir={data}",
        "--do_eval=true",
        "--max_seq_length=128",
        f"--output_dir={tmp_path}",
        "--remove_padding=true",
    )
    assert result.returncode == 0, result.stderr[-4000:]
    golden, ours = metrics(MODEL / "golden" / "mrpc_eval_results.txt"), metrics(tmp_path / "eval_results.txt")
    assert abs(golden["eval_accuracy"] - ours["eval_accuracy"]) * 408 < 1.01
    assert ours["eval_loss"] == pytest.approx(golden["eval_loss"], abs=1e-4)
