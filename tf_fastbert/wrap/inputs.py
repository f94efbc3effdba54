"""Checks of the configuration, the vocabulary and the data files, before any graph is built.

Each check raises WrapError with one sentence that names the file and what is wrong with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import tensorflow as tf

from tf_fastbert.config import BertConfig, is_size
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.scripts import Split, Task


@dataclasses.dataclass(frozen=True)
class BertSizes:
    """The sizes in bert_config.json; those with a default are optional in Google's code too."""

    encoder: BertConfig
    vocab_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 16


def read_config(path: str) -> BertSizes:
    """Reads and checks --bert_config_file.

    Raises:
      WrapError: no such file, no JSON object, a size missing or not a positive integer, a head size or activation that the op
        cannot do.
    """
    name = f"--bert_config_file={path}"
    config = _read_json(path, "--bert_config_file")
    if not isinstance(config, dict):
        raise WrapError(f"{name}: it must hold a JSON object, as bert_config.json does")
    if "vocab_size" not in config:
        raise WrapError(f"{name}: vocab_size missing")
    others = {}
    for key in ("vocab_size", "max_position_embeddings", "type_vocab_size"):
        if key in config:
            if not is_size(config[key]):
                raise WrapError(f"{name}: {key} must be a positive integer, not {config[key]!r}")
            others[key] = config[key]
    try:
        return BertSizes(encoder=BertConfig.from_dict(config, source=name), **others)
    except ValueError as error:
        raise WrapError(str(error)) from error


def check_vocab(path: str, sizes: BertSizes) -> None:
    """Checks --vocab_file: it exists, has BERT's special tokens, and no more tokens than the model has embeddings."""
    tokens = [line.strip() for line in _lines(_read_text(path, "--vocab_file"))]
    missing = [token for token in ("[CLS]", "[SEP]", "[UNK]") if token not in tokens]
    if missing:
        raise WrapError(f"--vocab_file={path}: {missing[0]} is not in it; it must be BERT's vocab.txt, one token a line")
    if len(tokens) > sizes.vocab_size:
        raise WrapError(
            f"--vocab_file={path}: {len(tokens)} tokens, but vocab_size in the configuration is {sizes.vocab_size}; "
            "the vocabulary belongs to another model"
        )


def check_squad(path: str, flag: str, *, training: bool, version_2: bool = False) -> None:
    """Checks a SQuAD file: JSON, the layout that Google's reader needs, and at least one question.

    Args:
      flag: the flag's name, for messages.
      training: answers are needed too.
      version_2: and with it, is_impossible.
    """
    name = f"--{flag}={path}"
    content = _read_json(path, f"--{flag}")
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise WrapError(f'{name}: no list "data" in it; it must be a SQuAD file')
    questions = 0
    for a, article in enumerate(content["data"]):
        for p, paragraph in enumerate(_list(article, "paragraphs", f"{name}: data[{a}]")):
            where = f"{name}: data[{a}].paragraphs[{p}]"
            _string(paragraph, "context", where)
            for q, question in enumerate(_list(paragraph, "qas", where)):
                where_q = f"{where}.qas[{q}]"
                _string(question, "question", where_q)
                if "id" not in question:
                    raise WrapError(f'{where_q}: no "id"')
                if training:
                    _check_answers(question, where_q, version_2)
                questions += 1
    if not questions:
        raise WrapError(f"{name}: there is no question in it")


def _check_answers(question: dict[str, Any], where: str, version_2: bool) -> None:
    for a, answer in enumerate(_list(question, "answers", where)):
        _string(answer, "text", f"{where}.answers[{a}]")
        if not isinstance(answer.get("answer_start"), int):
            raise WrapError(f'{where}.answers[{a}]: no integer "answer_start"')
    if version_2 and "is_impossible" not in question:
        raise WrapError(f'{where}: no "is_impossible", which --version_2_with_negative needs: it is no SQuAD 2.0 file')


def check_tsv(data_dir: str, task_name: str, task: Task, phase: str) -> None:
    """Checks the file of one phase ("train", "eval" or "predict") of a classification task: columns, labels, any example.

    Lines are split as Google's processors do: at tabs, with no quoting.
    """
    split = task.splits.get(phase)
    if split is None:
        raise WrapError(f"--task_name={task_name}: Google's processor for it has no {phase} set")
    path = os.path.join(data_dir, split.file)
    first = 1 if split.header or phase == "predict" else 0
    lines = _lines(_read_text(path, f"--data_dir={data_dir}: {split.file}", flag_only=True))[first:]
    if not lines:
        raise WrapError(f"--data_dir={data_dir}: {split.file} has no example in it")
    for number, line in enumerate(lines, start=first + 1):
        _check_row(line.split("\t"), f"{path}, line {number}", split, task.labels)


def _check_row(row: list[str], where: str, split: Split, labels: tuple[str, ...]) -> None:
    if len(row) < split.columns:
        raise WrapError(f"{where}: {len(row)} columns separated by tabs; the task needs {split.columns}")
    if split.label is not None and row[split.label] not in labels:
        raise WrapError(f"{where}: label {row[split.label]!r}; the task's labels are {', '.join(labels)}")


def _lines(text: str) -> list[str]:
    """The lines as Google's code counts them: ended by newlines alone, empty ones included."""
    lines = text.split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _read_text(path: str, flag: str, *, flag_only: bool = False) -> str:
    """The file's text. `flag` names it in messages, followed by the path unless `flag_only`."""
    name = flag if flag_only else f"{flag}={path}"
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        raise WrapError(f"{name}: there is no such file")
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read().decode("utf-8")
    except tf.errors.OpError as error:
        raise WrapError(f"{name}: it cannot be read: {error.message}") from error
    except UnicodeDecodeError as error:
        raise WrapError(f"{name}: it is not a text file in UTF-8 (byte {error.start})") from error


def _read_json(path: str, flag: str) -> Any:
    text = _read_text(path, flag)
    if not text.strip():
        raise WrapError(f"{flag}={path}: the file is empty")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise WrapError(f"{flag}={path}: it is not JSON: {error}") from error


def _list(holder: Any, key: str, where: str) -> list[Any]:
    if not isinstance(holder, dict) or not isinstance(holder.get(key), list):
        raise WrapError(f'{where}: no list "{key}"')
    return holder[key]


def _string(holder: Any, key: str, where: str) -> None:
    if not isinstance(holder, dict) or not isinstance(holder.get(key), str):
        raise WrapError(f'{where}: no string "{key}"')
