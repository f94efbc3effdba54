"""The real model on XQuAD-en through run_squad_wrap.py on a GPU, in each type, padded and with padding removed."""

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

# (most differing answers of 1,190, largest difference of EM and F1). 16-bit rounding moves answers that are nearly tied.
LIMITS = {"float32": (2, 0.1), "float16": (20, 0.2), "bfloat16": (120, 1.0)}


@pytest.mark.parametrize("remove_padding", [True, False])
@pytest.mark.parametrize("floatx", list(LIMITS))
def test_xquad(floatx: str, remove_padding: bool, tmp_path: Path, gpu_device: str) -> None:
    checkpoint = str(MODEL / "bert_model.ckpt")
    if floatx != "float32":
        cast_checkpoint(checkpoint, str(tmp_path / "model.ckpt"), floatx)
        checkpoint = str(tmp_path / "model.ckpt")
    data = SHARED / "data" / "squad" / "xquad.en.json"
    output = tmp_path / "out"
    result = tiny_model.run(
        "run_squad_wrap",
        *tiny_model.model_flags(MODEL)[:2], f"--init_checkpoint={checkpoint}", "--do_predict=true", f"--predict_file={data}",
        "--predict_batch_size=32", "--max_seq_length=384", "--doc_stride=128", f"--output_dir={output}",
        f"--floatx={floatx}", f"--remove_padding={remove_padding}",
        CUDA_VISIBLE_DEVICES="0",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]
    questions = load_questions(str(data))
    golden = load_predictions(str(MODEL / "golden" / "xquad_predictions.json"))
    ours = load_predictions(str(output / "predictions.json"))
    assert golden.keys() == ours.keys()
    different = sum(golden[key] != ours[key] for key in golden)
    expected, found = squad_v1_1.evaluate(questions, golden)[:2], squad_v1_1.evaluate(questions, ours)[:2]
    timing = json.loads((output / "fastbert_timing.json").read_text())
    print(f"\nXQuAD {floatx} remove_padding={remove_padding}: EM {found[0]:.3f} F1 {found[1]:.3f} different {different}, "
          f"{timing['examples']} features, {timing['examples_per_second']:.0f}/s")  # fmt: skip
    most_different, tolerance = LIMITS[floatx]
    assert different <= most_different
    assert found == pytest.approx(expected, abs=tolerance)
