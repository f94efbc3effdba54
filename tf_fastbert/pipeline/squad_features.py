"""convert_examples_to_features of Google's run_squad, made fast: the same InputFeatures in the same order.

What costs the time there: every paragraph is tokenized again for each of its questions, each word with Google's Python tokenizer,
and each token of each window is looked at several times. Here a word is tokenized once (words.py), a paragraph is put together
once, and windows are slices of it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import re
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tf_fastbert.pipeline import ahead
from tf_fastbert.pipeline.windows import Document, Layout, Query, Window
from tf_fastbert.pipeline.words import WordTokenizer, faster

_FIRST_UNIQUE_ID = 1000000000
_LOGGED_EXAMPLES = 20
# What is between Google's is_whitespace.
_WORD = re.compile("[^ \t\r\n\u202f]+")
# The windows of longer documents are made again each time: remembering them takes memory without bound.
_REMEMBERED_TOKENS = 1024


def split_paragraph(text: str) -> list[str]:
    """The words of a paragraph (SquadExample.doc_tokens), as Google's read_squad_examples splits it."""
    return _WORD.findall(text)


def word_starts(text: str) -> list[int]:
    """Where in the text each word of split_paragraph(text) begins."""
    return [match.start() for match in _WORD.finditer(text)]


def make_read_squad_examples(run_squad: types.ModuleType) -> Callable[..., list[Any]]:
    """run_squad.read_squad_examples, which splits a paragraph into words at once instead of character by character."""
    original = run_squad.read_squad_examples

    @functools.wraps(original)
    def read_squad_examples(input_file: str, is_training: bool) -> list[Any]:
        if is_training:  # needs the word that each character belongs to
            return original(input_file, is_training)
        made = ahead.examples(run_squad, input_file)
        if made is not None:
            return made
        with run_squad.tf.gfile.Open(input_file, "r") as reader:
            data = json.load(reader)["data"]
        return [
            run_squad.SquadExample(qas_id=qas_id, question_text=question, doc_tokens=doc_tokens)
            for qas_id, question, doc_tokens in questions(data)
        ]

    return read_squad_examples


def questions(data: Sequence[Any]) -> Iterator[tuple[str, str, list[str]]]:
    """(id, question, the paragraph's words) of each question in the "data" of a SQuAD file; all of a paragraph share the list."""
    for entry in data:
        for paragraph in entry["paragraphs"]:
            doc_tokens = split_paragraph(paragraph["context"])
            for qa in paragraph["qas"]:
                yield qa["id"], qa["question"], doc_tokens


def make_convert_examples_to_features(run_squad: types.ModuleType) -> Callable[..., None]:
    """run_squad.convert_examples_to_features; for training it is Google's with a faster tokenizer."""
    original = run_squad.convert_examples_to_features

    @functools.wraps(original)
    def convert_examples_to_features(
        examples: Sequence[Any],
        tokenizer: Any,
        max_seq_length: int,
        doc_stride: int,
        max_query_length: int,
        is_training: bool,
        output_fn: Callable[[Any], None],
    ) -> None:
        words = faster(tokenizer, run_squad.tokenization)
        if is_training or not isinstance(words, WordTokenizer):
            original(examples, words, max_seq_length, doc_stride, max_query_length, is_training, output_fn)
            return
        # Google's code logs the first examples, a page each.
        original(
            examples[:_LOGGED_EXAMPLES], words, max_seq_length, doc_stride, max_query_length, is_training, lambda feature: None
        )
        with _no_garbage_collection():
            made: Iterable[Any] | None = ahead.windows(examples, tokenizer, max_seq_length, doc_stride, max_query_length)
            if made is None:
                texts = ((example.question_text, example.doc_tokens, example.is_impossible) for example in examples)
                made = (
                    window.as_google(run_squad.InputFeatures)
                    for window in make_windows(texts, words, max_seq_length, doc_stride, max_query_length)
                )
            for feature in made:
                output_fn(feature)

    return convert_examples_to_features


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Features are lists and dictionaries by the ten thousand, all of them kept: looking for garbage there costs time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def make_windows(
    examples: Iterable[tuple[str, Sequence[str], bool]],
    words: WordTokenizer,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
) -> Iterator[Window]:
    """The windows of all examples, in Google's order.

    Args:
      examples: question, the paragraph's words (one list for all questions of a paragraph), is_impossible.
    """
    layout = Layout(max_seq_length, *words.convert_tokens_to_ids(["[CLS]", "[SEP]"]))
    known, document = None, Document([], [], [])
    unique_id = _FIRST_UNIQUE_ID
    for example_index, (question, doc_tokens, is_impossible) in enumerate(examples):
        tokens, ids = words.encode(question)
        query = Query(tokens[:max_query_length], ids[:max_query_length])
        if doc_tokens is not known:
            known, document = doc_tokens, Document(*words.encode_words(doc_tokens))
        windows = _windows if len(document.tokens) <= _REMEMBERED_TOKENS else _windows.__wrapped__
        places = windows(len(document.tokens), max_seq_length - len(query.tokens) - 3, doc_stride)
        for span_index, (start, is_max_context) in enumerate(places):
            yield Window(layout, query, document, start, is_max_context, unique_id, example_index, span_index, is_impossible)
            unique_id += 1


@functools.lru_cache(maxsize=1 << 14)
def _windows(num_tokens: int, longest: int, stride: int) -> list[tuple[int, list[bool]]]:
    """The windows of a document of `num_tokens`, `longest` at most each: where each starts, and for each of its tokens whether no
    other window gives the token more context (Google's _check_is_max_context)."""
    spans: list[tuple[int, int]] = []
    start = 0
    while start < num_tokens:
        length = min(num_tokens - start, longest)
        spans.append((start, length))
        if start + length == num_tokens:
            break
        start += min(length, stride)
    if len(spans) < 2:
        return [(start, [True] * length) for start, length in spans]
    positions = np.arange(num_tokens)
    # The same arithmetic in float64; the first of equal scores wins, as there.
    scores = np.full((len(spans), num_tokens), -1.0)
    for i, (start, length) in enumerate(spans):
        left = positions[start : start + length] - start
        scores[i, start : start + length] = np.minimum(left, length - 1 - left) + 0.01 * length
    best = scores.argmax(axis=0)
    return [(start, (best[start : start + length] == i).tolist()) for i, (start, length) in enumerate(spans)]
