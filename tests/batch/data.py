"""Rows for the tiny model, and its SavedModels."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.wrap import tiny_model
from tf_fastbert import export


def export_tiny(folder: Path, task: str, **options: Any) -> Path:
    """The SavedModel of the tiny model in folder/<task>."""
    output = folder / task
    export.export_saved_model(
        folder / "bert_model.ckpt", folder / "bert_config.json", folder / "vocab.txt", output, task=task,
        **{"max_seq_length": 48, "max_query_length": 16, "doc_stride": 16, **options},
    )  # fmt: skip
    return output


def squad_rows(path: Path) -> list[dict[str, Any]]:
    """The questions of a SQuAD file as rows."""
    data = json.loads(path.read_text())["data"]
    return [
        {"id": qa["id"], "question": qa["question"], "context": paragraph["context"]}
        for article in data
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def pairs(count: int, seed: int = 7) -> list[dict[str, Any]]:
    """Sentences and pairs of sentences; every third has no second one."""
    rng = random.Random(seed)

    def sentence() -> str:
        return " ".join(rng.choices(tiny_model.WORDS, k=rng.randint(1, 30)))

    rows = []
    for i in range(count):
        rows.append({"id": f"p{i}", "text_a": sentence(), **({"text_b": sentence()} if i % 3 else {})})
    return rows


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def read_jsonl(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
