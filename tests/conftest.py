"""Fixtures that all tests share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def device() -> str:
    """Where op tests run: what TF_FASTBERT_TEST_DEVICE names, else a GPU if TensorFlow sees one and the library can use it."""
    import tensorflow as tf

    from tf_fastbert import ops

    named = os.environ.get("TF_FASTBERT_TEST_DEVICE")
    if named:
        return named
    return "/GPU:0" if tf.config.list_physical_devices("GPU") and ops.build_info()["cuda"] else "/CPU:0"


@pytest.fixture(scope="session")
def gpu_device(device: str) -> str:
    """A GPU; skips the test where there is none."""
    if "GPU" not in device:
        pytest.skip("needs a GPU that TensorFlow sees, and a library built with CUDA")
    return device
