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
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tf_fastbert.pipeline.words import WordTokenizer, faster

_FIRST_UNIQUE_ID = 1000000000
_LOGGED_EXAMPLES = 20
# Google's is_whitespace.
_WHITESPACE = re.compile("[ \t\r\n\u202f]+")


class _Document(NamedTuple):
    """A paragraph: its tokens, their ids, and the index of the word that each belongs to."""

    tokens: list[str]
    ids: list[int]
    word_indexes: list[int]


def make_read_squad_examples(run_squad: types.ModuleType) -> Callable[..., list[Any]]:
    """run_squad.read_squad_examples, which splits a paragraph into words at once instead of character by character."""
    original = run_squad.read_squad_examples

    @functools.wraps(original)
    def read_squad_examples(input_file: str, is_training: bool) -> list[Any]:
        if is_training:  # needs the word that each character belongs to
            return original(input_file, is_training)
        with run_squad.tf.gfile.Open(input_file, "r") as reader:
            data = json.load(reader)["data"]
        examples = []
        for entry in data:
            for paragraph in entry["paragraphs"]:
                # One list for all questions of the paragraph, as in Google's code.
                doc_tokens = [word for word in _WHITESPACE.split(paragraph["context"]) if word]
                examples += [
                    run_squad.SquadExample(qas_id=qa["id"], question_text=qa["question"], doc_tokens=doc_tokens)
                    for qa in paragraph["qas"]
                ]
        return examples

    return read_squad_examples


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
            _convert(run_squad, examples, words, max_seq_length, doc_stride, max_query_length, output_fn)

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


def _convert(
    run_squad: types.ModuleType,
    examples: Sequence[Any],
    words: WordTokenizer,
    max_seq_length: int,
    doc_stride: int,
    max_query_length: int,
    output_fn: Callable[[Any], None],
) -> None:
    cls, sep = words.convert_tokens_to_ids(["[CLS]", "[SEP]"])
    doc_tokens, document = None, _Document([], [], [])
    unique_id = _FIRST_UNIQUE_ID
    for example_index, example in enumerate(examples):
        query, query_ids = words.encode(example.question_text)
        query, query_ids = query[:max_query_length], query_ids[:max_query_length]
        if example.doc_tokens is not doc_tokens:
            doc_tokens = example.doc_tokens
            document = _Document(*words.encode_words(doc_tokens))
        first = len(query) + 2  # the document's first position
        for span_index, (start, is_max_context) in enumerate(
            _windows(len(document.tokens), max_seq_length - len(query) - 3, doc_stride)
        ):
            length = len(is_max_context)
            end, used = start + length, first + length + 1
            padding = [0] * (max_seq_length - used)
            positions = range(first, first + length)
            output_fn(
                run_squad.InputFeatures(
                    unique_id=unique_id,
                    example_index=example_index,
                    doc_span_index=span_index,
                    tokens=["[CLS]", *query, "[SEP]", *document.tokens[start:end], "[SEP]"],
                    token_to_orig_map=dict(zip(positions, document.word_indexes[start:end])),
                    token_is_max_context=dict(zip(positions, is_max_context)),
                    input_ids=[cls, *query_ids, sep, *document.ids[start:end], sep, *padding],
                    input_mask=[1] * used + padding,
                    segment_ids=[0] * first + [1] * (length + 1) + padding,
                    start_position=None,
                    end_position=None,
                    is_impossible=example.is_impossible,
                )
            )
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
