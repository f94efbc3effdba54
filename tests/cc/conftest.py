"""Op tests run eagerly where they do not make a graph of their own."""

from __future__ import annotations

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def _eager() -> None:
    assert tf.executing_eagerly(), "a test of this process called disable_v2_behavior(); such tests need a process of their own"
