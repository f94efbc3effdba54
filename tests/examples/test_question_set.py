"""The question set of `make squad`: offsets, counts, unique ids, nothing shared between training and held-out part."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "examples" / "data"


def paragraphs(part: str) -> list[dict]:
    dataset = json.loads((DATA / f"questions_{part}.json").read_text(encoding="utf-8"))
    assert dataset["version"] == "1.1"
    return [paragraph for article in dataset["data"] for paragraph in article["paragraphs"]]


@pytest.mark.parametrize("part, references", [("train", 1), ("dev", 3)])
def test_each_answer_is_where_it_says(part, references):
    for paragraph in paragraphs(part):
        context = paragraph["context"]
        for qa in paragraph["qas"]:
            assert qa["question"].endswith("?")
            assert 1 <= len(qa["answers"]) <= references, qa["id"]
            for answer in qa["answers"]:
                start, text = answer["answer_start"], answer["text"]
                assert context[start : start + len(text)] == text, qa["id"]
                # A span of whole words: no letter is cut off on either side.
                assert re.fullmatch(r"\w.*\w|\w", text), qa["id"]
                assert not context[start - 1 : start].isalnum() and not context[start + len(text) :][:1].isalnum(), qa["id"]


def test_counts():
    train, dev = paragraphs("train"), paragraphs("dev")
    assert len(train) >= 33 and len(dev) >= 11
    held_out = sum(len(p["qas"]) for p in dev)
    assert held_out >= 60
    assert sum(len(p["qas"]) for p in train) + held_out >= 220
    for paragraph in train + dev:
        assert 60 <= len(paragraph["context"].split()) <= 100


def test_ids_are_unique_and_paragraphs_disjoint():
    train, dev = paragraphs("train"), paragraphs("dev")
    ids = [qa["id"] for paragraph in train + dev for qa in paragraph["qas"]]
    assert len(ids) == len(set(ids))
    contexts = [paragraph["context"] for paragraph in train + dev]
    assert len(contexts) == len(set(contexts))
