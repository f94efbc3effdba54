"""FastBertEmbedding against NumPy, and what it refuses."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from ml_dtypes import bfloat16

from tests.op_runner import new_session
from tf_fastbert.ops import fast_bert_embedding, load_library

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": bfloat16}
# Largest absolute error with outputs of unit scale: float32's sums, or half a unit in the last place of values up to 8.
LIMITS = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3.2e-2}
INVALID = tf.errors.InvalidArgumentError
tf1 = tf.compat.v1


class Inputs(NamedTuple):
    input_ids: Any
    token_type_ids: Any
    word_embeddings: Any
    position_embeddings: Any
    token_type_embeddings: Any
    gamma: Any
    beta: Any


def make_inputs(seed: int, batch: int, seq_len: int, hidden: int, dtype: str = "float32", token_types: int = 2) -> Inputs:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return (0.5 * rng.standard_normal(shape)).astype(DTYPES[dtype])

    return Inputs(
        rng.integers(0, 50, (batch, seq_len), np.int32),
        rng.integers(0, token_types, (batch, seq_len), np.int32),
        normal(50, hidden),
        normal(seq_len + 3, hidden),
        normal(token_types, hidden),
        normal(hidden) + np.asarray(1, DTYPES[dtype]),
        normal(hidden),
    )


def expected(inputs: Inputs, valid: np.ndarray | None = None, epsilon: float = 1e-12) -> np.ndarray:
    """float64; ids outside of their table count as rows of zeros."""

    def look_up(table: np.ndarray, ids: np.ndarray) -> np.ndarray:
        inside = (ids >= 0) & (ids < len(table))
        return np.where(inside[..., None], table.astype(np.float64)[np.where(inside, ids, 0)], 0)

    x = look_up(inputs.word_embeddings, inputs.input_ids) + look_up(inputs.token_type_embeddings, inputs.token_type_ids)
    x += inputs.position_embeddings[: x.shape[1]].astype(np.float64)
    x -= x.mean(-1, keepdims=True)
    x /= np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)
    x = x * inputs.gamma.astype(np.float64) + inputs.beta.astype(np.float64)
    return x if valid is None else np.where(valid[..., None], x, 0)


def check(inputs: Inputs, output: Any, want: np.ndarray) -> None:
    output = np.asarray(output)
    assert output.dtype == inputs.word_embeddings.dtype and output.shape == want.shape
    assert np.abs(output.astype(np.float64) - want).max(initial=0) <= LIMITS[output.dtype.name]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("batch", "seq_len", "hidden"), [(1, 1, 64), (3, 40, 768), (2, 7, 66), (1, 5, 1), (2, 3, 1100), (5, 33, 31)]
)
def test_against_numpy(batch: int, seq_len: int, hidden: int, dtype: str, device: str) -> None:
    inputs = make_inputs(hidden, batch, seq_len, hidden, dtype)
    with tf.device(device):
        output = fast_bert_embedding(*inputs)
    # One column: its deviation is zero, and only beta is left.
    check(inputs, output, expected(inputs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["lengths", "prefix", "holes", "int64", "bool"])
def test_padding_is_zero_and_not_read(kind: str, dtype: str, device: str) -> None:
    inputs = make_inputs(5, 4, 9, 48, dtype)
    lengths = np.array([9, 0, 1, 5], np.int32)
    valid = np.arange(9) < lengths[:, None]
    if kind == "holes":
        valid &= np.random.default_rng(0).integers(0, 2, valid.shape).astype(bool)
    argument = lengths if kind == "lengths" else valid.astype({"int64": np.int64, "bool": bool}.get(kind, np.int32))
    bad = np.where(valid, inputs.input_ids, -7).astype(np.int32)
    with tf.device(device):
        output = fast_bert_embedding(*inputs._replace(input_ids=bad), sequence_length=argument)
    assert not np.asarray(output)[~valid].any()
    check(inputs, output, expected(inputs, valid))


def test_epsilon(device: str) -> None:
    inputs = make_inputs(6, 2, 3, 32)
    with tf.device(device):
        check(inputs, fast_bert_embedding(*inputs, epsilon=0.5), expected(inputs, epsilon=0.5))


@pytest.mark.parametrize(("batch", "seq_len"), [(0, 5), (3, 0)])
def test_empty(batch: int, seq_len: int, device: str) -> None:
    with tf.device(device):
        assert fast_bert_embedding(*make_inputs(7, batch, seq_len, 8)).shape == (batch, seq_len, 8)


def test_int64_ids(device: str) -> None:
    inputs = make_inputs(8, 2, 3, 16)
    with tf.device(device):
        wide = inputs._replace(input_ids=inputs.input_ids.astype(np.int64), token_type_ids=inputs.token_type_ids.astype(np.int64))
        check(inputs, fast_bert_embedding(*wide), expected(inputs))


def test_token_type_outside_of_its_table_is_a_row_of_zeros(device: str) -> None:
    inputs = make_inputs(9, 2, 4, 32)
    inputs = inputs._replace(token_type_ids=np.array([[0, 1, 2, -1], [2**31 - 1, -(2**31), 1, 0]], np.int32))
    with tf.device(device):
        check(inputs, fast_bert_embedding(*inputs), expected(inputs))


@pytest.mark.parametrize("bad", [50, -1, 2**31 - 1, -(2**31)])
def test_input_id_outside_of_its_table(bad: int, device: str) -> None:
    """As tf.gather: an error on a CPU, a row of zeros on a GPU."""
    inputs = make_inputs(10, 2, 4, 32)
    inputs.input_ids[1, 2] = bad
    with tf.device(device):
        if "GPU" in device:
            check(inputs, fast_bert_embedding(*inputs), expected(inputs))
        else:
            with pytest.raises(INVALID, match=rf"FastBertEmbedding: input_ids\[1,2\] = {bad}, but word_embeddings has 50 rows"):
                fast_bert_embedding(*inputs)


BAD = [
    ("rank of ids", {"input_ids": np.zeros(4, np.int32)}, r"input_ids"),
    ("token types", {"token_type_ids": np.zeros((2, 5), np.int32)}, r"token_type_ids.*\[2, ?5\].*\[2, ?4\]"),
    ("words of rank 1", {"word_embeddings": np.zeros(8, np.float32)}, r"word_embeddings.*\[8\]"),
    ("position's width", {"position_embeddings": np.zeros((7, 31), np.float32)}, r"position_embeddings.*\[7, ?31\].*32"),
    ("few positions", {"position_embeddings": np.zeros((3, 32), np.float32)}, r"position_embeddings.*\[3, ?32\].*seq_len = 4"),
    ("token type's width", {"token_type_embeddings": np.zeros((2, 33), np.float32)}, r"token_type_embeddings.*\[2, ?33\].*32"),
    ("gamma", {"gamma": np.zeros(31, np.float32)}, r"gamma.*\[31\].*32"),
    ("beta", {"beta": np.zeros((1, 32), np.float32)}, r"beta.*\[1, ?32\].*32"),
    ("lengths", {"sequence_length": np.zeros(3, np.int32)}, r"sequence_length.*\[3\]"),
    ("a mask", {"sequence_length": np.zeros((2, 3), np.int32)}, r"sequence_length.*\[2, ?3\]"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_shapes(name: str, changes: dict[str, np.ndarray], message: str, device: str) -> None:
    arguments = {**make_inputs(11, 2, 4, 32)._asdict(), **changes}
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        fast_bert_embedding(**arguments)
    with tf.device(device), pytest.raises((ValueError, INVALID), match=message):
        fast_bert_embedding(**arguments)
    with tf.Graph().as_default() as graph, tf.device(device):
        feeds = {name: tf1.placeholder(array.dtype) for name, array in arguments.items()}
        output = fast_bert_embedding(**feeds)
        with new_session(graph) as session, pytest.raises(INVALID, match=f"FastBertEmbedding: {message}"):
            session.run(output, {feeds[name]: array for name, array in arguments.items()})


def test_bad_lengths(device: str) -> None:
    with tf.device(device), pytest.raises(INVALID, match=r"FastBertEmbedding: sequence_length\[1\] = 5.*seq_len = 4"):
        fast_bert_embedding(*make_inputs(11, 2, 4, 32), sequence_length=np.array([4, 5], np.int32))


def test_wrong_dtypes() -> None:
    inputs = make_inputs(12, 2, 4, 32)
    for changes, message in [
        ({"input_ids": inputs.input_ids.astype(np.float32)}, "input_ids is float32, expected int32"),
        ({"token_type_ids": inputs.token_type_ids.astype(bool)}, "token_type_ids is bool, expected int32"),
        ({"word_embeddings": inputs.word_embeddings.astype(np.float64)}, "word_embeddings is float64"),
        ({"beta": inputs.beta.astype(np.float16)}, "beta is float16, but word_embeddings is float32"),
    ]:
        with pytest.raises(TypeError, match=message):
            fast_bert_embedding(*inputs._replace(**changes))
    with pytest.raises(TypeError, match="sequence_length is float32"):
        fast_bert_embedding(*inputs, sequence_length=np.ones(2, np.float32))


def test_shape_inference() -> None:
    with tf.Graph().as_default():
        tables = [tf1.placeholder(tf.float16, shape) for shape in ([30, None], [None, None], None, [24], None)]
        ids = tf1.placeholder(tf.int32, [None, 7])
        output = fast_bert_embedding(ids, tf1.placeholder(tf.int32), *tables, sequence_length=tf1.placeholder(tf.int32, [3]))
        assert output.shape.as_list() == [3, 7, 24] and output.dtype == tf.float16
        with pytest.raises(ValueError, match="num_lengths must be 0 or 1"):
            load_library().fast_bert_embedding(ids, ids, *tables, [tf1.placeholder(tf.int32, [3])] * 2)


def test_gradient_is_refused() -> None:
    with tf.Graph().as_default():
        inputs = make_inputs(13, 2, 4, 32)
        table = tf.constant(inputs.word_embeddings)
        output = fast_bert_embedding(*inputs._replace(word_embeddings=table))
        with pytest.raises(NotImplementedError, match="FastBertEmbedding.*no gradient"):
            tf1.gradients(output, table)
