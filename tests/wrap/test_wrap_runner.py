"""Small parts of the runner: outputs of a failed run, one-line errors, Google's module."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tf_fastbert.wrap import google, runner
from tf_fastbert.wrap.errors import WrapError


def test_a_failed_run_leaves_no_half_output(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("of an earlier run")
    with pytest.raises(RuntimeError), runner._no_half_outputs(str(tmp_path), ["old.json", "new.tsv", "never.json"]):
        (tmp_path / "new.tsv").write_text("hal")
        raise RuntimeError
    assert [file.name for file in tmp_path.iterdir()] == ["old.json"]
    with runner._no_half_outputs(str(tmp_path), ["new.tsv"]):
        (tmp_path / "new.tsv").write_text("whole")
    assert (tmp_path / "new.tsv").read_text() == "whole"


@pytest.mark.parametrize("error", [ValueError("one\ntwo"), OSError("one\ntwo"), tf.errors.DataLossError(None, None, "one\ntwo")])
def test_errors_of_others_become_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(runner, "FLAGS", types.SimpleNamespace(verbose=False))
    with (
        pytest.raises(WrapError, match=f"{type(error).__name__}: .*one two .--verbose shows where"),
        runner._errors_in_one_line(),
    ):
        raise error
    with pytest.raises(KeyError), runner._errors_in_one_line():
        raise KeyError("a bug keeps its traceback")


def test_bert_dir_without_the_script(tmp_path: Path) -> None:
    with pytest.raises(WrapError, match="no run_squad.py in it"):
        google.load("run_squad", str(tmp_path))


@pytest.mark.parametrize("package", [True, False])
def test_bert_dir_as_package_or_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: bool) -> None:
    script = "from bert import modelling\nmodeling = modelling" if package else "import modelling\nmodeling = modelling"
    (tmp_path / "a_script.py").write_text(script)
    (tmp_path / "modelling.py").write_text("NAME = 'a copy'")
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("bert", "bert.a_script", "bert.modelling", "a_script", "modelling"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = google.load("a_script", str(tmp_path))
    assert module.modeling.NAME == "a copy"
    for name in ("bert", "bert.a_script", "bert.modelling", "a_script", "modelling"):
        monkeypatch.delitem(sys.modules, name, raising=False)
