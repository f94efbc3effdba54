"""Where answers are in their passages: texts with every kind of white space, accents and Chinese characters."""

from __future__ import annotations

import json
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import features_of, write_questions, write_vocab
from tf_fastbert.answering.passage import Passage
from tf_fastbert.pipeline import n_best, squad_features
from tf_fastbert.pipeline.final_text import FinalText


def test_words_and_characters() -> None:
    passage = Passage("  The cat's\n\nhouse\t(big).")
    assert passage.words == ["The", "cat's", "house", "(big)."]
    assert passage.characters(0, 0, len("The cat's house (big).")) == (2, len(passage.text))
    start, end = passage.characters(1, 4, len("cat's house"))
    assert passage.text[start:end] == "s\n\nhouse"
    start, end = passage.characters(3, 1, 4)
    assert passage.text[start:end] == "big"


@pytest.mark.parametrize("lower", [True, False])
def test_answers_are_found_in_their_passages(google: types.ModuleType, tmp_path: Path, lower: bool) -> None:
    path = write_questions(tmp_path / "squad.json")
    passages = [paragraph["context"] for entry in json.loads(path.read_text())["data"] for paragraph in entry["paragraphs"]]
    tokenizer = google.tokenization.FullTokenizer(str(write_vocab(tmp_path / "vocab.txt")), do_lower_case=lower)
    examples = google.read_squad_examples(str(path), False)
    features = features_of(google, squad_features.make_convert_examples_to_features(google), examples, tokenizer, 64, 16, 16)
    rng = np.random.default_rng(2)
    results = {one.unique_id: google.RawResult(one.unique_id, *rng.normal(0, 4, (2, 64)).tolist()) for one in features}
    windows = n_best.by_example(examples, features)
    final_text = FinalText(google, lower)
    answers = parts = 0
    for i, found in enumerate(n_best.find(final_text, examples, windows, results, 20, 30, False)):
        passage = Passage(passages[i // 3])
        assert passage.words == found.example.doc_tokens
        for entry in found.entries:
            if entry.window < 0:
                assert entry.text == n_best.NOTHING
                continue
            start, end = passage.characters(*final_text.place(found.windows[entry.window], *entry[4:], found.example.doc_tokens))
            assert " ".join(squad_features.split_paragraph(passage.text[start:end])) == entry.text
            answers += 1
            parts += start > 0 and passage.text[start - 1] not in " \t\r\n\u202f"
    assert answers > 300 and parts > 30  # some answers begin inside a word
