"""From which command lines the features are made beside TensorFlow's import, and the hint about batches."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tf_fastbert.wrap import ahead_of_imports, preflight


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("tokenization.py", "run_squad.py", "vocab.txt", "dev.json"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(ahead_of_imports.flags, "FLAGS", types.SimpleNamespace(bert_dir=str(tmp_path), fast_python=True))
    return tmp_path


def arguments(folder: Path, *more: str) -> Any:
    given = [f"--vocab_file={folder}/vocab.txt", f"--predict_file={folder}/dev.json", "--do_predict=true", "--floatx=float16"]
    return ahead_of_imports._arguments(["run_squad_wrap.py", *given, *more])


def test_what_is_begun(files: Path) -> None:
    assert arguments(files, "--doc_stride", "64", "--do_lower_case=False", "--unknown=1") == {
        "bert": str(files), "vocab_file": f"{files}/vocab.txt", "do_lower_case": False, "predict_file": f"{files}/dev.json",
        "max_seq_length": 384, "doc_stride": 64, "max_query_length": 64,
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    ["--do_train=true", "--nodo_predict", "--vocab_file=gone.txt", "--max_seq_length=64", "--doc_stride=x",
     "--preserve_unused_tokens"],
)  # fmt: skip
def test_what_is_not(files: Path, more: str) -> None:
    assert arguments(files, more) is None


def test_without_google_bert(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_of_imports.flags.FLAGS, "bert_dir", None)
    monkeypatch.setattr(ahead_of_imports.importlib.util, "find_spec", lambda name: None)
    assert arguments(files) is None


def test_hint_about_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = {"predict_batch_size": types.SimpleNamespace(value=8), "eval_batch_size": types.SimpleNamespace(value=64)}
    monkeypatch.setattr(preflight, "FLAGS", batches)
    gpus: list[str] = []
    monkeypatch.setattr(preflight.tf.config, "list_physical_devices", lambda kind: gpus)
    assert preflight._batch_notes(["do_predict"]) == []
    gpus.append("GPU:0")
    (line,) = preflight._batch_notes(["do_predict", "do_eval"])
    assert line == "--predict_batch_size=8 is small for a GPU: --predict_batch_size=64 would be faster, with the same answers"
    batches["predict_batch_size"].value = 64
    assert preflight._batch_notes(["do_predict"]) == []
