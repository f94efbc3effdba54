"""Mistakes get one clear error, and nothing is half written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tests.export.models import batch, export_tiny, write_checkpoints
from tests.wrap import tiny_model
from tf_fastbert import export
from tf_fastbert.export import saved_model

TOOL = Path(__file__).resolve().parents[2] / "tools" / "export_saved_model.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_checkpoints(folder)
    return folder


def tool(folder: Path, output: Path, *flags: str, checkpoint: str = "bert_model.ckpt") -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(TOOL), *tiny_model.model_flags(folder, checkpoint), f"--output_dir={output}", *flags],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "translation"}, "--task=translation: it must be one of squad, classifier, encoder"),
        ({"labels": ["a", "b"]}, "--labels names 2 labels, but a model for --task=squad has none"),
        ({"task": "classifier", "labels": ["a"]}, "--labels names 1 labels, but the checkpoint has 2"),
        ({"max_seq_length": 65}, "--max_seq_length=65: it must be from 4 to 64"),
        ({"max_seq_length": 20, "max_query_length": 18}, r"greater than --max_query_length \(18\) plus 3"),
        ({"doc_stride": 0}, "--doc_stride=0: it must be positive"),
        ({"int8_mode": 1}, "is a float checkpoint without quantizers, which does not go with --int8_mode=1"),
        ({"precision": "fp8", "int8_mode": 1}, "--int8_mode=1"),
    ],
)
def test_options(folder: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(export.ExportError, match=message):
        export_tiny(folder, tmp_path / "model", **options)
    assert not os.listdir(tmp_path)


def test_a_checkpoint_that_does_not_fit(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bert_config.json").write_text((folder / "bert_config.json").read_text().replace('"hidden_size": 32', '"hidden_size": 64'))
    with pytest.raises(export.ExportError, match=r"variable bert/\S+ has shape .*bert_config.json asks for"):
        export.export_saved_model(
            folder / "bert_model.ckpt", tmp_path / "bert_config.json", folder / "vocab.txt", tmp_path / "model", task="squad"
        )
    with pytest.raises(export.ExportError, match="no checkpoint .*nothing.ckpt"):
        export.export_saved_model(
            folder / "nothing.ckpt", folder / "bert_config.json", folder / "vocab.txt", tmp_path / "model", task="squad"
        )
    assert os.listdir(tmp_path) == ["bert_config.json"]


def test_a_failed_export_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(saved_model.tf.saved_model, "save", fail)
    with pytest.raises(RuntimeError, match="the disk is full"):
        export_tiny(folder, tmp_path / "models" / "1")
    assert not os.listdir(tmp_path / "models")


def test_weights_that_fit_no_graph(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_model, "_MOST_CONSTANT_BYTES", 1000)
    with pytest.raises(export.ExportError, match="do not fit a graph"):
        export_tiny(folder, tmp_path / "model", weights="constants")
    assert export_tiny(folder, tmp_path / "model").weights == "variables"


def test_overwriting(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "model"
    export_tiny(folder, output)
    before = (output / "saved_model.pb").read_bytes()
    with pytest.raises(export.ExportError, match="model exists: name another one, or pass --overwrite"):
        export_tiny(folder, output, "float16")
    with monkeypatch.context() as context:
        context.setattr(saved_model, "_add_files", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export_tiny(folder, output, "float16", overwrite=True)
    assert (output / "saved_model.pb").read_bytes() == before
    export_tiny(folder, output, "float16", overwrite=True)
    assert export.read_settings(str(output)).floatx == "float16"
    assert os.listdir(tmp_path) == ["model"]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(export.ExportError, match="is no SavedModel: --overwrite replaces SavedModels only"):
        export_tiny(folder, precious, overwrite=True)


def test_settings_of_other_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="is no SavedModel"):
        export.read_settings(str(tmp_path))
    export_tiny(folder, tmp_path / "squad" / "1")
    with pytest.raises(export.ExportError, match="its subfolder 1 may be what you mean"):
        export.read_settings(str(tmp_path / "squad"))
    (tmp_path / "squad" / "1" / "assets.extra" / "tf_fastbert.json").unlink()
    with pytest.raises(export.ExportError, match="it was not written by tools/export_saved_model.py"):
        export.read_settings(str(tmp_path / "squad" / "1"))


def test_the_tool(folder: Path, tmp_path: Path) -> None:
    done = tool(folder, tmp_path / "m" / "1", "--task=squad", "--int8_mode=2", checkpoint="int8_2.ckpt")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{tmp_path}/m/1: squad, int8_mode2, float32, ") and "weights as constants" in first
    assert second == (
        "  serving_default: input_ids int32[?, ?], input_mask int32[?, ?], segment_ids int32[?, ?] -> start_logits "
        "float32[?, ?], end_logits float32[?, ?]"
    )
    again = tool(folder, tmp_path / "m" / "1", "--task=squad")
    assert again.returncode == 1 and again.stderr.splitlines()[-1].startswith("error: --output_dir=")
    assert "Traceback" not in again.stderr


# What a user's program does that has no tf_fastbert: TensorFlow, the library beside the model, and two lines.
_ALONE = """
import sys, threading
import numpy as np
import tensorflow as tf
folder, data = sys.argv[1:]
tf.load_op_library(folder + "/assets.extra/libtf_fastbert.so")
model = tf.saved_model.load(folder).signatures["serving_default"]
inputs = np.load(data)
results = {}
def ask(i):
    shape = slice(None, 1 + i % 4)
    results[i] = model(**{name: tf.constant(inputs[name][shape]) for name in inputs.files})["start_logits"].numpy()
threads = [threading.Thread(target=ask, args=[i]) for i in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not [name for name in sys.modules if "fastbert" in name], "tf_fastbert was imported"
np.savez(data + ".out.npz", *[results[i] for i in range(8)])
"""


def test_a_process_without_our_python(folder: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    output = tmp_path / "model"
    export_tiny(folder, output, with_library=True)
    inputs = batch()
    np.savez(tmp_path / "in.npz", **inputs)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    done = subprocess.run(
        [sys.executable, "-c", _ALONE, str(output), str(tmp_path / "in.npz")],
        capture_output=True, text=True, cwd="/", timeout=600, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "in.npz.out.npz") as results:
        got = [results[name] for name in results.files]
    signature = tf.saved_model.load(str(output)).signatures["serving_default"]
    want = signature(**{name: tf.constant(value) for name, value in inputs.items()})["start_logits"].numpy()
    for i, value in enumerate(got):
        np.testing.assert_allclose(value, want[: 1 + i % 4], rtol=1e-5, atol=1e-5)
