"""Questions and passages as text -> answers, in the graph: windows, the model, the best span and its text.

B = batch, W = windows of all passages, S = tokens of the longest window.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tf_fastbert.export.settings import Settings

# Below every sum of two logits, -20000 for two of padding.
_IMPOSSIBLE = -1e9


def answer(
    by_ids: Any, tokenizer: Any, special: Any, settings: Settings, question: tf.Tensor, context: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The answers of questions about passages, string [B] both.

    Returns:
      answer: string [B], a part of the passage; "" if it has no token.
      begin, end: int32 [B], the bytes of the passage that the answer is.
      score: float32 [B], the sum of its start and end logits, the highest of all spans that run_squad allows.
      null_score: float32 [B], SQuAD 2.0's score of "no answer": the lowest sum of the first token's logits.
    """
    query = tokenizer.tokenize(question)[:, : settings.max_query_length]
    tokens, begins, ends = tokenizer.tokenize_with_offsets(context)
    counts, query_length = tokens.row_lengths(), query.row_lengths()
    longest = settings.max_seq_length - 3 - query_length
    stride = tf.minimum(tf.cast(settings.doc_stride, tf.int64), longest)
    # A window each `stride` tokens until one reaches the end.
    windows = 1 + tf.maximum(-((longest - counts) // stride), 0)
    row = tf.repeat(tf.range(tf.size(windows)), windows)
    start = tf.ragged.range(windows).values * tf.gather(stride, row)
    length = tf.minimum(tf.gather(counts, row) - start, tf.gather(longest, row))
    document = part(tf.gather(tokens, row), start, start + length)

    rows = tf.size(row)
    cls, sep = tf.fill([rows, 1], special.cls), tf.fill([rows, 1], special.sep)
    first = tf.gather(query_length, row) + 2  # where the passage begins in a window
    inputs = model_inputs(tf.concat([cls, tf.gather(query, row), sep, document, sep], axis=1), first)
    logits = by_ids(**inputs)
    start_logits, end_logits = logits["start_logits"], logits["end_logits"]

    # [W, S]: the token's number in all passages together, for tokens of the passage.
    position = tf.range(tf.shape(start_logits, tf.int64)[1])[tf.newaxis] - first[:, tf.newaxis]
    is_document = (position >= 0) & (position < length[:, tf.newaxis])
    number = position + (start + tf.gather(tokens.row_starts(), row))[:, tf.newaxis]
    is_start = is_document & _has_most_context(position, length, number, is_document, tf.size(tokens.values, tf.int64))

    score, i, j = _best_pair(start_logits, end_logits, is_start, is_document, settings.max_answer_length)
    by_row = tf.RaggedTensor.from_row_lengths(score, windows)
    scores = by_row.to_tensor(-float("inf"))
    best = tf.reduce_max(scores, 1)
    chosen = by_row.row_starts() + tf.argmax(scores, 1)  # of equal windows the first
    found = best > _IMPOSSIBLE / 2

    def byte(offsets: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
        token = tf.gather(number, chosen), tf.gather(column, chosen)
        at = tf.where(found, tf.gather(token[0], token[1], batch_dims=1), 0)
        padded = tf.concat([offsets, tf.zeros([1], offsets.dtype)], 0)  # a batch of empty passages has no token at all
        return tf.where(found, tf.cast(tf.gather(padded, at), tf.int32), 0)

    begin, end = byte(begins.values, i), byte(ends.values, j)
    return {
        "answer": tf.strings.substr(context, begin, end - begin),
        "begin": begin,
        "end": end,
        "score": tf.where(found, best, tf.constant(-float("inf"))),
        "null_score": tf.math.segment_min(start_logits[:, 0] + end_logits[:, 0], row),
    }


def part(ragged: tf.RaggedTensor, start: tf.Tensor, end: tf.Tensor) -> tf.RaggedTensor:
    """Of each row the values from start [rows] to end [rows], int64."""
    first = ragged.row_starts()
    return tf.gather(ragged.values, tf.ragged.range(first + start, first + end))


def model_inputs(ids: tf.RaggedTensor, first: tf.Tensor) -> dict[str, tf.Tensor]:
    """input_ids, input_mask and segment_ids, int32 [rows, longest]; segment 1 begins at first [rows], int64."""
    lengths = ids.row_lengths()
    padded = ids.to_tensor()
    mask = tf.sequence_mask(lengths, tf.shape(padded)[1], tf.int32)
    before = tf.sequence_mask(first, tf.shape(padded)[1], tf.int32)
    return {"input_ids": padded, "input_mask": mask, "segment_ids": mask * (1 - before)}


def _has_most_context(
    position: tf.Tensor, length: tf.Tensor, number: tf.Tensor, is_document: tf.Tensor, tokens: tf.Tensor
) -> tf.Tensor:
    """bool [W, S]: whether no other window has more words around the token (Google's _check_is_max_context)."""
    around = tf.minimum(position, length[:, tf.newaxis] - 1 - position)
    context = tf.cast(around, tf.float64) + 0.01 * tf.cast(length, tf.float64)[:, tf.newaxis]
    # Tokens of no passage go to a segment of their own.
    segment = tf.where(is_document, number, tokens)
    best = tf.gather(tf.math.unsorted_segment_max(context, segment, tokens + 1), segment)
    windows = tf.shape(position, tf.int64)[0]
    # Not ==, which programs of TensorFlow 1 make a comparison of objects.
    window = tf.where(tf.equal(context, best), tf.range(windows)[:, tf.newaxis], windows)
    return tf.equal(window, tf.gather(tf.math.unsorted_segment_min(window, segment, tokens + 1), segment))


def _best_pair(
    start_logits: tf.Tensor, end_logits: tf.Tensor, is_start: tf.Tensor, is_end: tf.Tensor, longest: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The highest sum of a window's start and end logits, float32 [W], and its positions, int32 [W], of spans of 1 to `longest`."""
    size = tf.shape(start_logits)[1]
    sums = tf.where(is_start, start_logits, _IMPOSSIBLE)[:, :, tf.newaxis] + tf.where(is_end, end_logits, _IMPOSSIBLE)[:, tf.newaxis]
    length = tf.range(size)[tf.newaxis] - tf.range(size)[:, tf.newaxis]
    sums = tf.where((length >= 0) & (length < longest), sums, _IMPOSSIBLE)
    flat = tf.reshape(sums, [-1, size * size])
    best = tf.argmax(flat, 1, tf.int32)
    return tf.reduce_max(flat, 1), best // size, best % size
