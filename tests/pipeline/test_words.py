"""WordTokenizer gives the tokens of Google's FullTokenizer, for every text."""

from __future__ import annotations

import gzip
import json
import random
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from absl.testing import flagsaver

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import ALL, VOCAB, needs_shared, run_squad, squad_files, tf1, write_vocab  # noqa: F401
from tf_fastbert.pipeline.words import WordTokenizer, faster


@pytest.fixture(params=[True, False], ids=["lower case", "cased"])
def google(request: pytest.FixtureRequest, run_squad: Any, tmp_path: Path) -> Any:  # noqa: F811
    return run_squad.tokenization.FullTokenizer(str(write_vocab(tmp_path / "vocab.txt")), do_lower_case=request.param)


def check(google: Any, ours: WordTokenizer, texts: Any) -> None:
    for text in texts:
        tokens = google.tokenize(text)
        assert ours.encode(text) == (tokens, google.convert_tokens_to_ids(tokens)), ascii(text)
        assert ours.tokenize(text) == tokens


def random_texts(count: int, seed: int) -> list[str]:
    """Texts of characters of every kind that the tokenizer treats apart, and of any."""
    rng = random.Random(seed)
    kinds = [
        "abcxyzABCXYZ0189",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        " \t\n\r",
        "\x00\x01\x0b\x0c\x1c\x1d\x1e\x1f\x7f\x85\xad\u200b\u200d\ufeff\ufffd\u2028\u2029",
        "\xa0\u1680\u2003\u202f\u205f\u3000",
        "äöüßÄÖÜéèñçİıſΣςάΆ\u0301\u0308\u0327\u1e9e\uff21\ufb01",
        "一丁東京\u3400\U00020000\U0002a700\uf900\U0002f800ひらカタ한국",
        "–—‘’“”…¿¡«»€©°²½÷\u061f\u0964",
        "\U0001f600\U0001f468\u200d\U0001f469\U000e0100",
    ]
    texts = []
    for _ in range(count):
        chosen = rng.sample(kinds, k=rng.randint(1, 4))
        texts.append(
            "".join(
                chr(rng.choice([rng.randrange(0x3000), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
                if rng.random() < 0.1
                else rng.choice(rng.choice(chosen))
                for _ in range(rng.randint(0, 30))
            )
        )
    return texts


def test_random_unicode(google: Any) -> None:
    check(google, WordTokenizer(google), random_texts(4000, seed=1))


def test_long_words_unknown_words_and_bytes(google: Any) -> None:
    ours = WordTokenizer(google)
    check(google, ours, ["a" * 200, "a" * 201, "the" + "\xe4" * 300, "~" * 300, "", " ", "\n", "Q\u2603Q", "[UNK] [CLS]"])
    check(google, ours, [b"the cat", "Zürich".encode(), b"\xff broken"])
    with pytest.raises(ValueError, match="Unsupported string type"):
        ours.tokenize(5)


def test_every_character(google: Any) -> None:
    """Alone, and between letters; every 23rd one unless all are asked for."""
    ours = WordTokenizer(google)
    characters = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Co", "Cs")]
    characters = characters if ALL else characters[:0x300] + characters[0x300::23]
    check(google, ours, (text for c in characters for text in (c, f"a{c}B c")))


def test_only_for_what_it_knows(google: Any, run_squad: Any) -> None:  # noqa: F811
    tokenization = run_squad.tokenization
    ours = faster(google, tokenization)
    assert isinstance(ours, WordTokenizer)
    assert ours.inv_vocab is google.inv_vocab and ours.convert_ids_to_tokens([2]) == ["[CLS]"]

    class Another(tokenization.FullTokenizer):
        pass

    other = Another.__new__(Another)
    assert faster(other, tokenization) is other
    with flagsaver.flagsaver(preserve_unused_tokens=True):
        assert faster(google, tokenization) is google


@needs_shared
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("path", squad_files(), ids=lambda path: path.name)
def test_all_questions_and_paragraphs(run_squad: Any, path: Path, lower: bool) -> None:  # noqa: F811
    google = run_squad.tokenization.FullTokenizer(str(VOCAB), do_lower_case=lower)
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        paragraphs = [paragraph for entry in json.load(file)["data"] for paragraph in entry["paragraphs"]]
    texts = [text for paragraph in paragraphs for text in (paragraph["context"], *(qa["question"] for qa in paragraph["qas"]))]
    check(google, WordTokenizer(google), texts)
