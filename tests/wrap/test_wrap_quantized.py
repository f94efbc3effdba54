"""The wrappers on quantized models: running them, training for them, and checkpoints that do not fit the flags."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.quantization.tiny_quantized import tensors, write_ranges
from tests.wrap import tiny_model
from tests.wrap.many_runs import Ended, run_many
from tf_fastbert.checkpoint import write_checkpoint
from tf_fastbert.quantization import names
from tf_fastbert.quantization.convert import quantize_checkpoint

SQUAD = ["--max_seq_length=48", "--doc_stride=16", "--max_query_length=16", "--predict_batch_size=4", "--remove_padding"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized")
    tiny_model.write_model(folder)
    tiny_model.write_squad(folder / "squad.json")
    calibrated = write_ranges(folder, "calibrated.ckpt")
    for mode in (1, 2, "fp8"):
        quantize_checkpoint(calibrated, str(folder / f"{mode}.ckpt"), mode)
    values = tensors(str(folder / "1.ckpt"))
    values[names.amax_list_name(1)][36] = np.nan
    write_checkpoint(str(folder / "nan.ckpt"), values)
    values = tensors(calibrated)
    del values[names.range_names(1, "context")[0]]
    write_checkpoint(str(folder / "incomplete.ckpt"), values)
    return folder


@pytest.fixture(scope="module")
def ended(folder: Path) -> dict[str, Ended]:
    def line(name: str, checkpoint: str, *flags: str) -> list[str]:
        return [
            *tiny_model.model_flags(folder, checkpoint),
            *SQUAD,
            "--do_predict=true",
            f"--predict_file={folder}/squad.json",
            f"--output_dir={folder}/{name}",
            *flags,
        ]

    train = ["--do_train", f"--train_file={folder}/squad.json", "--train_batch_size=4", "--num_train_epochs=2"]
    lines = {
        "mode 1": line("mode1", "1.ckpt", "--int8_mode=1", "--compare_stock"),
        "mode 2": line("mode2", "2.ckpt", "--int8_mode", "2"),
        "fp8": line("fp8", "fp8.ckpt", "--precision=fp8", "--compare_stock"),
        "train": line("trained", "calibrated.ckpt", "--quant_mode=ft2", *train, "--learning_rate=1e-3"),
        "distill": line(
            "distilled", "calibrated.ckpt", "--quant_mode=ft1", *train, "--distillation", f"--teacher={folder}/bert_model.ckpt"
        ),
        "plain as int8": line("none", "bert_model.ckpt", "--int8_mode=1"),
        "calibrated as int8": line("none", "calibrated.ckpt", "--int8_mode=2"),
        "int8 as plain": line("none", "1.ckpt"),
        "int8 as fp8": line("none", "1.ckpt", "--precision=fp8"),
        "plain in quant_mode": line("none", "bert_model.ckpt", "--quant_mode=ft1"),
        "incomplete": line("none", "incomplete.ckpt", "--quant_mode=ft1"),
        "nan": line("none", "nan.ckpt", "--int8_mode=1"),
        "train int8": line("none", "1.ckpt", "--int8_mode=1", *train),
    }
    return dict(zip(lines, run_many("run_squad_wrap", list(lines.values())), strict=True))


def predictions(folder: Path, name: str) -> dict[str, str]:
    return json.loads((folder / name / "predictions.json").read_text())


@pytest.mark.parametrize("case", ["mode 1", "mode 2", "fp8"])
def test_quantized_models_answer(ended: dict[str, Ended], folder: Path, case: str) -> None:
    assert ended[case].status == 0, ended[case].output[-3000:]
    assert len(predictions(folder, case.replace(" ", ""))) == tiny_model.SQUAD_QUESTIONS
    if case == "mode 1":
        assert "encoder in int8_mode 1, float32" in ended[case].output
        assert "(int8 and float32 to float32 is exact)" in ended[case].output
    if case == "fp8":
        assert "no GPU with FP8 here: products in float32" in ended[case].output


def test_training_for_quantization(ended: dict[str, Ended], folder: Path) -> None:
    before = tensors(str(folder / "calibrated.ckpt"))
    for case, name in (("train", "trained"), ("distill", "distilled")):
        assert ended[case].status == 0, ended[case].output[-3000:]
        after = tensors(str(folder / name / "model.ckpt-3"))
        assert not any(key.startswith("teacher") for key in after)
        for key, value in before.items():
            if names.is_range(key):  # loaded, not trained, saved again
                np.testing.assert_array_equal(after[key], value)
        moved = [key for key in before if key.endswith("kernel") and "encoder" in key and (after[key] != before[key]).any()]
        assert len(moved) == 12
        assert len(predictions(folder, name)) == tiny_model.SQUAD_QUESTIONS
        mode = 2 if case == "train" else 1
        report = quantize_checkpoint(str(folder / name), str(folder / f"{name}_int8.ckpt"), mode)
        assert any(key.endswith("adam_m") for key in report.dropped)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("plain as int8", "without quantizers, .*: calibrate it with tools/ckpt_calibrate.py --quant_mode=ft1, then"),
        ("calibrated as int8", "quantize it with tools/ckpt_quantization.py --int8_mode=2"),
        ("int8 as plain", "an int8 checkpoint, .*: run with --int8_mode=1, 2 or 3"),
        ("int8 as fp8", "an int8 checkpoint, which does not go with --precision=fp8"),
        ("plain in quant_mode", "calibrate it with tools/ckpt_calibrate.py --quant_mode=ft1$"),
        ("incomplete", "layer_1/attention/output/dense/input_quantizer/quant_max is missing: calibrate it again"),
        ("nan", "layer_1/amaxList: the range of context is nan"),
        ("train int8", "a quantized model cannot be trained"),
    ],
)
def test_checkpoints_that_do_not_fit(ended: dict[str, Ended], folder: Path, case: str, message: str) -> None:
    import re

    status, output = ended[case]
    assert status == 1, output
    last = output.splitlines()[-1]
    assert last.startswith("error: ") and re.search(message, last), last
    assert not (folder / "none").exists()
