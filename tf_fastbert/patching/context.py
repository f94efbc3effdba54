"""What the thread is building: transformer_model cannot see BertModel's is_training."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_local = threading.local()


def is_training() -> bool:
    """Whether this thread is inside the constructor of a BertModel with is_training=True."""
    return getattr(_local, "is_training", None) is True


def is_inference() -> bool:
    """Whether this thread is inside the constructor of a BertModel with is_training=False."""
    return getattr(_local, "is_training", None) is False


def is_teacher() -> bool:
    """Whether this thread builds a teacher for distillation: a float model beside a fake-quantized one."""
    return getattr(_local, "is_teacher", False)


@contextlib.contextmanager
def building_teacher() -> Iterator[None]:
    _local.is_teacher = True
    try:
        yield
    finally:
        _local.is_teacher = False


@contextlib.contextmanager
def building_model(is_training: bool) -> Iterator[None]:
    before = getattr(_local, "is_training", None)
    _local.is_training = is_training
    try:
        yield
    finally:
        _local.is_training = before
