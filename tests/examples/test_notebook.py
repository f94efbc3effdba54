"""examples/question_answering.ipynb runs from its first cell to its last."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (the extra tf_fastbert[notebook])")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (the extra tf_fastbert[notebook])")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (the extra tf_fastbert[notebook])")

REPO = Path(__file__).resolve().parents[2]
NOTEBOOK = REPO / "examples" / "question_answering.ipynb"
MODEL = REPO.parent / "shared" / "models" / "minilm_l6_squad_mrpc"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_committed_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.slow
def test_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the shared checkpoint where there is one; elsewhere it fine-tunes its own, unless `make squad` has."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if MODEL.is_dir():
        monkeypatch.setenv("CHECKPOINT_DIR", str(MODEL))
    else:
        monkeypatch.delenv("CHECKPOINT_DIR", raising=False)
    notebook = read()
    client = nbclient.NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute(env=dict(os.environ))
    shown = "\n".join(
        output.get("text") or str(output.get("data", {}).get("text/html", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert re.search(r"Google's encoder \d+\.\d ms, the op \d+\.\d ms", shown)
    assert "<mark>" in shown and "Latency(tokenize_ms=" in shown
    rows = re.findall(r"(?m)^(Google, float32|op, \S+(?: \d)?) +([\d.]+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+)$", shown)
    assert [row[0] for row in rows] == ["Google, float32", "op, float32", "op, float16", "op, int8_mode 1"]
    differing = {row[0]: int(row[6]) for row in rows}
    assert differing["Google, float32"] == 0 and differing["op, float32"] <= 1 and differing["op, float16"] <= 3
    sizes = {row[0]: float(row[1]) for row in rows}
    assert sizes["op, float16"] < 0.6 * sizes["op, float32"]
