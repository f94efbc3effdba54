"""Checks of configuration, vocabulary and data files: one sentence that names the file and the mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tests.wrap import tiny_model
from tf_fastbert.config import BertConfig
from tf_fastbert.wrap import inputs
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.scripts import TASKS

SIZES = inputs.BertSizes(BertConfig.from_dict(tiny_model.CONFIG), vocab_size=tiny_model.CONFIG["vocab_size"])


def message(error: pytest.ExceptionInfo) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_config(tmp_path: Path) -> None:
    path = tmp_path / "bert_config.json"
    path.write_text(json.dumps(tiny_model.CONFIG))
    sizes = inputs.read_config(str(path))
    assert (sizes.encoder.hidden_size, sizes.vocab_size, sizes.max_position_embeddings, sizes.type_vocab_size) == (
        32,
        tiny_model.CONFIG["vocab_size"],
        64,
        2,
    )


@pytest.mark.parametrize(
    "change, culprit",
    [
        ({"num_attention_heads": 5}, "hidden size"),
        ({"hidden_size": 36, "num_attention_heads": 4}, "36 / 4 heads = 9"),
        ({"hidden_size": 520, "num_attention_heads": 4}, "= 130"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"hidden_act": "swish"}, "swish"),
    ],
)
def test_config_mistakes(tmp_path: Path, change: dict, culprit: str) -> None:
    path = tmp_path / "bert_config.json"
    path.write_text(json.dumps({**tiny_model.CONFIG, **change}))
    with pytest.raises(WrapError, match=culprit) as error:
        inputs.read_config(str(path))
    assert str(path) in message(error)


@pytest.mark.parametrize(
    "text, culprit", [("", "empty"), ("{", "not JSON"), ("[1]", "JSON object"), ("{}", "vocab_size missing")]
)
def test_config_that_is_none(tmp_path: Path, text: str, culprit: str) -> None:
    path = tmp_path / "bert_config.json"
    path.write_text(text)
    with pytest.raises(WrapError, match=culprit):
        inputs.read_config(str(path))
    with pytest.raises(WrapError, match="there is no such file"):
        inputs.read_config(str(tmp_path / "other.json"))


def test_vocab(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n")
    inputs.check_vocab(str(path), SIZES)
    path.write_text("[PAD]\n[UNK]\n[CLS]\nword\n")
    with pytest.raises(WrapError, match=r"\[SEP\] is not in it"):
        inputs.check_vocab(str(path), SIZES)
    path.write_text("[UNK]\n[CLS]\n[SEP]\n" + "\n".join(f"w{i}" for i in range(100)))
    with pytest.raises(WrapError, match=f"103 tokens, but vocab_size in the configuration is {SIZES.vocab_size}"):
        inputs.check_vocab(str(path), SIZES)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(WrapError, match="UTF-8"):
        inputs.check_vocab(str(path), SIZES)


def squad(*paragraphs: object) -> str:
    return json.dumps({"data": [{"paragraphs": list(paragraphs)}]})


def test_squad(tmp_path: Path) -> None:
    path = tmp_path / "squad.json"
    tiny_model.write_squad(path)
    inputs.check_squad(str(path), "predict_file", training=False)
    inputs.check_squad(str(path), "train_file", training=True)
    inputs.check_squad(str(path), "predict_file", training=False, version_2=True)
    with pytest.raises(WrapError, match=r'qas\[0\]: no "is_impossible", which --version_2_with_negative needs'):
        inputs.check_squad(str(path), "train_file", training=True, version_2=True)
    path.write_text(squad({"context": "", "qas": []}, {"context": "a", "qas": [{"id": 1, "question": "b"}]}))
    inputs.check_squad(str(path), "predict_file", training=False)


@pytest.mark.parametrize(
    "text, culprit",
    [
        ("", "the file is empty"),
        ("  \n", "the file is empty"),
        ("data", "not JSON"),
        ("[]", 'no list "data"'),
        ('{"data": []}', "no question"),
        ('{"data": [{}]}', r'data\[0\]: no list "paragraphs"'),
        (squad({"qas": []}), r'data\[0\].paragraphs\[0\]: no string "context"'),
        (squad({"context": "a", "qas": []}), "no question"),
        (squad({"context": "a", "qas": [{"id": 1}]}), r'qas\[0\]: no string "question"'),
        (squad({"context": "a", "qas": [{"question": "b"}]}), r'qas\[0\]: no "id"'),
        (squad({"context": "a", "qas": [{"id": 1, "question": "b"}]}), 'no list "answers"'),
        (squad({"context": "a", "qas": [{"id": 1, "question": "b", "answers": [{}]}]}), r'answers\[0\]: no string "text"'),
        (squad({"context": "a", "qas": [{"id": 1, "question": "b", "answers": [{"text": "a"}]}]}), 'no integer "answer_start"'),
    ],
)
def test_squad_mistakes(tmp_path: Path, text: str, culprit: str) -> None:
    path = tmp_path / "squad.json"
    path.write_text(text)
    with pytest.raises(WrapError, match=culprit) as error:
        inputs.check_squad(str(path), "predict_file", training=True)
    assert message(error).startswith(f"--predict_file={path}")


def test_tsv(tmp_path: Path) -> None:
    tiny_model.write_mrpc(tmp_path)
    for phase in ("train", "eval", "predict"):
        inputs.check_tsv(str(tmp_path), "MRPC", TASKS["mrpc"], phase)
    # Only a newline ends a line: what Python's splitlines takes for one may stand in a sentence.
    (tmp_path / "dev.tsv").write_text("a header\n1\t2\t3\tone\x85\u2028\ttwo\n", encoding="utf-8")
    inputs.check_tsv(str(tmp_path), "MRPC", TASKS["mrpc"], "eval")
    with pytest.raises(WrapError, match="dev_matched.tsv: there is no such file"):
        inputs.check_tsv(str(tmp_path), "MNLI", TASKS["mnli"], "eval")
    with pytest.raises(WrapError, match="no predict set"):
        inputs.check_tsv(str(tmp_path), "XNLI", TASKS["xnli"], "predict")


@pytest.mark.parametrize(
    "text, culprit",
    [
        ("", "dev.tsv has no example"),
        ("a header\n", "dev.tsv has no example"),
        ("a header\n1\t2\t3\tone\ttwo\n0\t2\t3\tone\n", "line 3: 4 columns"),
        ("a header\n2\t2\t3\tone\ttwo\n", "line 2: label '2'; the task's labels are 0, 1"),
    ],
)
def test_tsv_mistakes(tmp_path: Path, text: str, culprit: str) -> None:
    (tmp_path / "dev.tsv").write_text(text)
    with pytest.raises(WrapError, match=culprit) as error:
        inputs.check_tsv(str(tmp_path), "MRPC", TASKS["mrpc"], "eval")
    message(error)
