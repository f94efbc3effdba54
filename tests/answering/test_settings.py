"""Settings that cannot be."""

from __future__ import annotations

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tf_fastbert.answering import Settings
from tf_fastbert.wrap.errors import WrapError


@pytest.mark.parametrize("name", ["doc_stride", "max_query_length", "max_answer_length", "n_best_size", "batch_size"])
def test_numbers_are_positive(name: str) -> None:
    with pytest.raises(WrapError, match=f"--{name}=0: it must be at least 1"):
        Settings(**{name: 0})


def test_windows_have_room_for_the_passage() -> None:
    assert Settings(max_seq_length=68).max_query_length == 64
    with pytest.raises(WrapError, match=r"--max_seq_length=67: it must be greater than --max_query_length \(64\) plus 3"):
        Settings(max_seq_length=67)


def test_positions() -> None:
    Settings(max_seq_length=384).check_positions(384)
    with pytest.raises(WrapError, match="--max_seq_length=384: the model has 128 positions"):
        Settings(max_seq_length=384).check_positions(128)
