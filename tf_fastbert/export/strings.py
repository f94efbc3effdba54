"""The signature "strings": text in, answers or probabilities out, tokenized inside the graph by tensorflow-text.

Its FastBertTokenizer gives the tokens of Google's tokenizer on ordinary text; docs/guide_serving.md has what was compared. A
program that loads such a model imports tensorflow_text first; TensorFlow Serving has those ops.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tf_fastbert.export import spans
from tf_fastbert.export.settings import ExportError, Settings


def check() -> Any:
    """The module tensorflow_text.

    Raises:
      ExportError: it is not there or does not fit this TensorFlow; the message says what to install.
    """
    try:
        import tensorflow_text
    except Exception as error:  # a library for another TensorFlow fails to load in several ways
        minor = ".".join(tf.__version__.split(".")[:2])
        raise ExportError(
            f"--inputs=strings needs tensorflow-text for TensorFlow {minor}, which cannot be imported "
            f"({type(error).__name__}: {' '.join(str(error).split())[:160]}): pip install --no-deps 'tensorflow-text=={minor}.*', or "
            "export with --inputs=ids"
        ) from error
    return tensorflow_text


class _Tokens(NamedTuple):
    cls: int
    sep: int


def signature(by_ids: Any, settings: Settings, vocab_file: str) -> Any:
    """The ConcreteFunction of the signature.

    Task "squad": question and context, string [batch], to answer, string [batch], and what spans.Answers has. A context that is
    longer than a window is read in several, as run_squad does.
    Tasks "classifier" and "encoder": text_a and text_b, string [batch], text_b "" where there is none, to what by_ids gives. Texts
    that are too long are cut as run_classifier does.

    Args:
      by_ids: the model's ConcreteFunction of token ids.
    """
    text = check()
    with open(vocab_file, encoding="utf-8") as file:
        vocab = [line.strip() for line in file]
    tokenizer = text.FastBertTokenizer(
        vocab,
        max_bytes_per_word=200,  # of a longer word Google makes [UNK] too
        token_out_type=tf.int32,
        lower_case_nfd_strip_accents=settings.do_lower_case,
    )
    special = _Tokens(vocab.index("[CLS]"), vocab.index("[SEP]"))

    # The arguments' names become the signature's.
    def answers(question: tf.Tensor, context: tf.Tensor) -> dict[str, tf.Tensor]:
        return spans.answer(by_ids, tokenizer, special, settings, question, context)

    def outputs(text_a: tf.Tensor, text_b: tf.Tensor) -> dict[str, tf.Tensor]:
        return by_ids(**_pairs(tokenizer, special, settings.max_seq_length, text_a, text_b))

    run, names = (answers, ("question", "context")) if settings.task == "squad" else (outputs, ("text_a", "text_b"))
    specs = [tf.TensorSpec([None], tf.string, name=name) for name in names]
    return tf.function(run, input_signature=specs).get_concrete_function()


def _pairs(tokenizer: Any, special: _Tokens, max_seq_length: int, text_a: tf.Tensor, text_b: tf.Tensor) -> dict[str, tf.Tensor]:
    """input_ids, input_mask and segment_ids of sentences and pairs, as run_classifier's convert_single_example makes them."""
    first, second = tokenizer.tokenize(text_a), tokenizer.tokenize(text_b)
    length_a, length_b = first.row_lengths(), second.row_lengths()
    is_pair = length_b > 0
    room = tf.where(is_pair, tf.cast(max_seq_length - 3, tf.int64), max_seq_length - 2)
    # Google drops the last token of the longer text until both fit, of equal ones the second's.
    kept_a = tf.minimum(length_a, tf.maximum(room - length_b, (room + 1) // 2))
    kept_b = tf.minimum(length_b, room - kept_a)
    first, second = spans.part(first, tf.zeros_like(kept_a), kept_a), spans.part(second, tf.zeros_like(kept_b), kept_b)
    rows = tf.shape(text_a)[0]
    cls, sep = tf.fill([rows, 1], special.cls), tf.fill([rows, 1], special.sep)
    end = tf.RaggedTensor.from_row_lengths(tf.fill([tf.math.count_nonzero(is_pair)], special.sep), tf.cast(is_pair, tf.int64))
    return spans.model_inputs(tf.concat([cls, first, sep, second, end], axis=1), kept_a + 2)
