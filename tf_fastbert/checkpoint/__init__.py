"""Reads, casts, renames and writes TensorFlow checkpoints; makes them from Hugging Face models."""

from tf_fastbert.checkpoint.errors import CheckpointError
from tf_fastbert.checkpoint.reader import Checkpoint, find_checkpoint
from tf_fastbert.checkpoint.writer import write_checkpoint

__all__ = ["Checkpoint", "CheckpointError", "find_checkpoint", "write_checkpoint"]
