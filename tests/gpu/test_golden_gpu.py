"""The real model through run_squad_wrap.py on a GPU: XQuAD-en in each type, padded and packed; all of SQuAD 1.1 dev."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.examples.test_golden import MODEL, SHARED
from tests.wrap import tiny_model
from tf_fastbert.checkpoint.cast import cast_checkpoint
from tf_fastbert.evaluation import squad_v1_1
from tf_fastbert.evaluation.files import load_predictions, load_questions

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not MODEL.is_dir(), reason="needs ../shared/models and ../shared/data"),
]

# (most differing answers of 1,190, in proportion for more questions; largest difference of EM and F1). 16-bit rounding moves
# answers that are nearly tied.
LIMITS = {"float32": (2, 0.1), "float16": (6, 0.2), "bfloat16": (20, 0.4)}


def compare_with_golden(data: str, golden: str, floatx: str, remove_padding: bool, folder: Path) -> None:
    """Answers shared/data/squad/<data> and asserts that the answers, EM and F1 are those of the golden run within LIMITS."""
    checkpoint = str(MODEL / "bert_model.ckpt")
    if floatx != "float32":
        cast_checkpoint(checkpoint, str(folder / "model.ckpt"), floatx)
        checkpoint = str(folder / "model.ckpt")
    questions_file = SHARED / "data" / "squad" / data
    output = folder / "out"
    result = tiny_model.run(
        "run_squad_wrap",
        *tiny_model.model_flags(MODEL)[:2], f"--init_checkpoint={checkpoint}", "--do_predict=true",
        f"--predict_file={questions_file}", "--predict_batch_size=32", "--max_seq_length=384", "--doc_stride=128",
        f"--output_dir={output}", f"--floatx={floatx}", f"--remove_padding={remove_padding}",
        CUDA_VISIBLE_DEVICES="0",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]
    questions = load_questions(str(questions_file))
    wanted = load_predictions(str(MODEL / "golden" / golden))
    ours = load_predictions(str(output / "predictions.json"))
    assert wanted.keys() == ours.keys()
    different = sum(wanted[key] != ours[key] for key in wanted)
    expected, found = squad_v1_1.evaluate(questions, wanted)[:2], squad_v1_1.evaluate(questions, ours)[:2]
    timing = json.loads((output / "fastbert_timing.json").read_text())
    print(f"\n{data} {floatx} remove_padding={remove_padding}: EM {found[0]:.3f} F1 {found[1]:.3f} different {different}, "
          f"{timing['examples']} features, {timing['examples_per_second']:.0f}/s")  # fmt: skip
    most_different, tolerance = LIMITS[floatx]
    assert different <= most_different * len(wanted) / 1190
    assert found == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("remove_padding", [True, False])
@pytest.mark.parametrize("floatx", list(LIMITS))
def test_xquad(floatx: str, remove_padding: bool, tmp_path: Path, gpu_device: str) -> None:
    compare_with_golden("xquad.en.json", "xquad_predictions.json", floatx, remove_padding, tmp_path)


def test_squad_dev(tmp_path: Path, gpu_device: str) -> None:
    compare_with_golden("dev-v1.1.json", "squad_dev_predictions.json", "float32", True, tmp_path)
