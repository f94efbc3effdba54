"""From a float checkpoint to a quantized one by the command lines of tools/."""

from __future__ import annotations

import gzip
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.quantization.tiny_quantized import tensors
from tests.wrap import tiny_model
from tf_fastbert.quantization.examples import ExamplesError, squad_features

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def run(tool: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, TOOLS / tool, *map(str, arguments)], capture_output=True, text=True, cwd="/", check=False, timeout=600
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    tiny_model.write_model(folder)
    tiny_model.write_squad(folder / "squad.json")
    with gzip.open(folder / "squad.json.gz", "wb") as file:
        file.write((folder / "squad.json").read_bytes())
    tiny_model.write_mrpc(folder)
    return folder


def test_squad_to_int8(folder: Path) -> None:
    result = run(
        "ckpt_calibrate.py",
        *tiny_model.model_flags(folder),
        f"--train_file={folder}/squad.json.gz",
        f"--calibrated_checkpoint={folder}/calibrated/model.ckpt",
        "--num_examples=5",
        "--max_seq_length=48",
        "--doc_stride=16",
        "--max_query_length=16",
        "--quant_mode=ft2",
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "42 ranges for ft2 from" in result.stdout and "output_sum " in result.stdout
    assert "ranges" in result.stderr and "histograms" in result.stderr and "100%" in result.stderr  # the bar
    assert "deprecated" not in result.stderr and "INFO" not in result.stderr
    result = run(
        "ckpt_quantization.py",
        f"--init_checkpoint={folder}/calibrated/model.ckpt",
        f"--quantized_checkpoint={folder}/int8/model.ckpt",
        "--int8_mode=2",
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "2 layers, int8_mode 2, " in result.stdout and "84 variables of quantizers and optimizers left out" in result.stdout
    assert "bert/encoder/layer_1/amaxList" in tensors(f"{folder}/int8/model.ckpt")
    again = run(
        "ckpt_quantization.py",
        f"--init_checkpoint={folder}/int8/model.ckpt",
        f"--quantized_checkpoint={folder}/again/model.ckpt",
        "--int8_mode=2",
    )
    assert again.returncode == 1 and not (folder / "again").exists()
    assert again.stderr.splitlines()[-1].startswith("error: checkpoint ") and "is quantized already" in again.stderr


def test_task_by_percentile(folder: Path) -> None:
    arguments = [
        *tiny_model.model_flags(folder),
        "--task_name=mrpc",
        f"--calibrated_checkpoint={folder}/mrpc/model.ckpt",
        "--max_seq_length=48",
        "--calib_method=percentile",
        "--percentile=99.9",
    ]
    result = run("ckpt_calibrate.py", *arguments, f"--data_dir={folder}")
    assert result.returncode == 0, result.stderr[-3000:]
    assert f"from {tiny_model.MRPC_PAIRS['train']} examples" in result.stdout
    assert "attention_input percentile 99.9, context percentile 99.9" in result.stdout
    result = run("ckpt_calibrate.py", *arguments, f"--data_dir={folder}/none")
    assert result.returncode == 1 and result.stderr.splitlines()[-1].startswith(f"error: --data_dir={folder}/none: ")


def test_help() -> None:
    for tool in ("ckpt_calibrate.py", "ckpt_quantization.py"):
        result = run(tool, "--help")
        assert result.returncode == 0 and f"python tools/{tool}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --train_file (SQuAD) or --task_name and --data_dir"),
        (["--task_name=MRPC"], "--task_name needs --data_dir"),
        (["--train_file=x", "--num_examples=0"], "--num_examples must be at least 1"),
        (["--train_file=x", "--percentile=101"], "--percentile must be above 0 and at most 100"),
        (["--train_file=x", "--do_lower_case=maybe"], "'maybe' is not true or false"),
    ],
)
def test_command_line(capsys: pytest.CaptureFixture, arguments: list[str], message: str) -> None:
    tool = runpy.run_path(str(TOOLS / "ckpt_calibrate.py"))
    files = [f"--{name}=x" for name in ("init_checkpoint", "calibrated_checkpoint", "bert_config_file", "vocab_file")]
    with pytest.raises(SystemExit):
        tool["parse_arguments"]([*files, *arguments])
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_squad(folder: Path) -> None:
    (folder / "no.json").write_text('{"data": 3}')
    with pytest.raises(ExamplesError, match="no.json: not a SQuAD file"):
        squad_features(None, str(folder / "no.json"), None, num_examples=1)
    with pytest.raises(ExamplesError, match="none.json: No such file"):
        squad_features(None, str(folder / "none.json"), None, num_examples=1)
