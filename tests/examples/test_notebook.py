"""examples/question_answering.ipynb runs from its first cell to its last."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (requirements-test.txt)")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (requirements-test.txt)")
pytest.importorskip("ipykernel", reason="ipykernel is not installed (requirements-test.txt)")

from tests.wrap import tiny_model

NOTEBOOK = tiny_model.REPO / "examples" / "question_answering.ipynb"
MODEL = tiny_model.REPO.parent / "shared" / "models" / "minilm_l6_squad_mrpc"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_committed_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def run(monkeypatch: pytest.MonkeyPatch, checkpoint_dir: Path) -> tuple[str, dict[str, re.Match[str]]]:
    """Runs every cell. Returns what they show, and the last table's rows."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("CHECKPOINT_DIR", str(checkpoint_dir))
    notebook = read()
    client = nbclient.NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute(env=dict(os.environ))
    shown = "\n".join(
        output.get("text") or str(output.get("data", {}).get("text/html", ""))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert re.search(r"Google's encoder \d+\.\d ms, the op \d+\.\d ms", shown)
    assert "Latency(tokenize_ms=" in shown
    row = r"(?m)^(?P<name>Google, float32|op, \S+(?: \d)?) +(?P<mb>[\d.]+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +(?P<differing>\d+)$"
    rows = {found["name"]: found for found in re.finditer(row, shown)}
    assert list(rows) == ["Google, float32", "op, float32", "op, float16", "op, int8_mode 1"]
    assert int(rows["Google, float32"]["differing"]) == 0 and int(rows["op, float32"]["differing"]) <= 1
    assert float(rows["op, float16"]["mb"]) < 0.6 * float(rows["op, float32"]["mb"])
    return shown, rows


def test_runs_on_a_tiny_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Random weights: what is answered means nothing, but Google's graph and the op answer the same."""
    tiny_model.write_model(tmp_path, max_position_embeddings=384, vocab_size=2000)  # the notebook's own token ids are below that
    data = (tiny_model.REPO / "examples" / "data" / "questions_dev.json").read_text(encoding="utf-8")
    words = sorted(set(re.findall(r"[a-z]+", data.lower())) - set(tiny_model.WORDS))
    with (tmp_path / "vocab.txt").open("a", encoding="utf-8") as vocabulary:
        missing = 2000 - 5 - len(tiny_model.WORDS)
        vocabulary.writelines(f"{word}\n" for word in [*words, *(f"[unused{i}]" for i in range(missing))][:missing])
    run(monkeypatch, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not MODEL.is_dir(), reason="needs ../shared/models")
def test_runs_on_a_real_model(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, rows = run(monkeypatch, MODEL)
    assert "<mark>" in shown
    assert int(rows["op, float16"]["differing"]) <= 3
