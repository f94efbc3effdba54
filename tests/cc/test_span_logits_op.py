"""FastBertSpanLogits against NumPy, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ml_dtypes import bfloat16

from tests.op_runner import new_session
from tf_fastbert.ops import fast_bert_span_logits

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": bfloat16}
INVALID = tf.errors.InvalidArgumentError
tf1 = tf.compat.v1


def make_inputs(batch: int, seq_len: int, hidden: int, dtype: str = "float32", weights_dtype: str = "float32") -> dict[str, Any]:
    rng = np.random.default_rng(batch * seq_len + hidden)

    def normal(dtype: str, *shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(DTYPES[dtype])

    return {
        "hidden_states": normal(dtype, batch, seq_len, hidden),
        "weights": normal(weights_dtype, 2, hidden),
        "bias": normal(weights_dtype, 2),
        "sequence_length": rng.integers(0, seq_len + 1, batch, np.int32),
    }


def check(inputs: dict[str, Any], outputs: Any, valid: np.ndarray | None = None, padding: float = -10000.0) -> None:
    hidden, weights, bias = (inputs[name].astype(np.float64) for name in ("hidden_states", "weights", "bias"))
    if valid is None:
        valid = np.arange(hidden.shape[1]) < inputs["sequence_length"][:, None]
    # What is not valid may be anything, also no number.
    want = np.where(valid[..., None], np.where(valid[..., None], hidden, 0) @ weights.T + bias, padding)
    limit = 2e-6 * (1 + np.where(valid[..., None], np.abs(np.where(valid[..., None], hidden, 0)) @ np.abs(weights.T), 0))
    for i, output in enumerate(outputs):
        output = np.asarray(output)
        assert output.dtype == np.float32 and output.shape == want.shape[:2]
        assert np.all(np.abs(output - want[..., i]) <= limit[..., i])


@pytest.mark.parametrize("weights_dtype", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "seq_len", "hidden"), [(3, 40, 768), (2, 7, 66), (1, 5, 1), (2, 3, 1100), (5, 33, 31)])
def test_against_numpy(batch: int, seq_len: int, hidden: int, dtype: str, weights_dtype: str, device: str) -> None:
    inputs = make_inputs(batch, seq_len, hidden, dtype, weights_dtype)
    with tf.device(device):
        outputs = fast_bert_span_logits(**inputs)
    assert "GPU" not in device or all("GPU" in output.device for output in outputs)
    check(inputs, outputs)


@pytest.mark.parametrize("kind", ["lengths", "prefix", "holes", "int64", "bool"])
def test_padding_is_not_read(kind: str, device: str) -> None:
    inputs = make_inputs(4, 9, 48, "float16")
    lengths = np.array([9, 0, 1, 5], np.int32)
    valid = np.arange(9) < lengths[:, None]
    if kind == "holes":
        valid &= np.random.default_rng(0).integers(0, 2, valid.shape).astype(bool)
    inputs["hidden_states"][~valid] = np.nan
    inputs["sequence_length"] = lengths if kind == "lengths" else valid.astype({"int64": np.int64, "bool": bool}.get(kind, np.int32))
    with tf.device(device):
        check(inputs, fast_bert_span_logits(**inputs, padding=-7.5), valid, -7.5)


def test_more_rows_than_a_launch_takes(device: str) -> None:
    inputs = make_inputs(67, 512, 8)
    with tf.device(device):
        check(inputs, fast_bert_span_logits(**inputs))


@pytest.mark.parametrize(("batch", "seq_len"), [(0, 5), (3, 0)])
def test_empty(batch: int, seq_len: int, device: str) -> None:
    with tf.device(device):
        assert [output.shape for output in fast_bert_span_logits(**make_inputs(batch, seq_len, 8))] == [(batch, seq_len)] * 2


def test_pointers_without_alignment(device: str) -> None:
    """A session's feeds may lie anywhere."""
    inputs = make_inputs(2, 5, 64)
    for name in ("hidden_states", "weights"):
        memory = np.zeros(inputs[name].size + 1, np.float32)
        memory[1:] = inputs[name].ravel()
        inputs[name] = memory[1:].reshape(inputs[name].shape)
    with tf.Graph().as_default() as graph, tf.device(device):
        feeds = {name: tf1.placeholder(array.dtype) for name, array in inputs.items()}
        outputs = fast_bert_span_logits(**feeds)
        with new_session(graph) as session:
            check(inputs, session.run(outputs, {feeds[name]: array for name, array in inputs.items()}))


BAD = [
    ("rank of hidden states", {"hidden_states": np.zeros((2, 4), np.float32)}, r"hidden_states.*\[2, ?4\]"),
    ("one row of weights", {"weights": np.zeros((1, 32), np.float32)}, r"weights.*\[1, ?32\].*\[2, ?32\]"),
    ("weights' width", {"weights": np.zeros((2, 31), np.float32)}, r"weights.*\[2, ?31\].*\[2, ?32\]"),
    ("bias", {"bias": np.zeros(3, np.float32)}, r"bias.*\[3\].*\[2\]"),
    ("lengths", {"sequence_length": np.zeros(3, np.int32)}, r"sequence_length.*\[3\]"),
    ("a mask", {"sequence_length": np.zeros((2, 3), np.int32)}, r"sequence_length.*\[2, ?3\]"),
]


@pytest.mark.parametrize(("name", "changes", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_shapes(name: str, changes: dict[str, np.ndarray], message: str, device: str) -> None:
    arguments = {**make_inputs(2, 4, 32), **changes}
    with tf.Graph().as_default(), pytest.raises(ValueError, match=message):
        fast_bert_span_logits(**arguments)
    with tf.device(device), pytest.raises((ValueError, INVALID), match=message):
        fast_bert_span_logits(**arguments)
    with tf.Graph().as_default() as graph, tf.device(device):
        feeds = {name: tf1.placeholder(array.dtype) for name, array in arguments.items()}
        outputs = fast_bert_span_logits(**feeds)
        with new_session(graph) as session, pytest.raises(INVALID, match=f"FastBertSpanLogits: {message}"):
            session.run(outputs, {feeds[name]: array for name, array in arguments.items()})


def test_bad_lengths(device: str) -> None:
    inputs = {**make_inputs(2, 4, 32), "sequence_length": np.array([4, 5], np.int32)}
    with tf.device(device), pytest.raises(INVALID, match=r"FastBertSpanLogits: sequence_length\[1\] = 5.*seq_len = 4"):
        fast_bert_span_logits(**inputs)


def test_wrong_dtypes() -> None:
    inputs = make_inputs(2, 4, 32)
    for changes, message in [
        ({"hidden_states": inputs["hidden_states"].astype(np.float64)}, "hidden_states is float64, expected float32"),
        ({"weights": inputs["weights"].astype(np.int32)}, "weights is int32, expected float32"),
        ({"bias": inputs["bias"].astype(np.float16)}, "bias is float16, but weights is float32"),
        ({"sequence_length": inputs["sequence_length"].astype(np.float32)}, "sequence_length is float32, expected int32"),
    ]:
        with pytest.raises(TypeError, match=f"fast_bert_span_logits: {message}"):
            fast_bert_span_logits(**{**inputs, **changes})


def test_no_gradient() -> None:
    inputs = make_inputs(2, 4, 32)
    hidden = tf.constant(inputs.pop("hidden_states"))
    with tf.GradientTape() as tape:
        tape.watch(hidden)
        start, _ = fast_bert_span_logits(hidden, **inputs)
    with pytest.raises(NotImplementedError, match="FastBertSpanLogits.*no gradient"):
        tape.gradient(start, hidden)
