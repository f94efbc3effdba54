"""Fixtures of these tests."""

from tests.cuda.fake import fake_cuda

__all__ = ["fake_cuda"]
