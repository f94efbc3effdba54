"""Finds and checks the files of a fine-tuned BERT in Google's format: configuration, vocabulary, checkpoint."""

from __future__ import annotations

import dataclasses
import os

from tf_fastbert.checkpoint import CheckpointError
from tf_fastbert.checkpoint.reader import Checkpoint, find_checkpoint
from tf_fastbert.wrap import checkpoints, inputs
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.quantized import Wanted
from tf_fastbert.wrap.scripts import RUN_SQUAD

_FLAG = "--init_checkpoint"
_EMBEDDINGS = "bert/embeddings/word_embeddings"


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """Files that exist, fit together and hold a model that answers questions.

    Attributes:
      checkpoint: its prefix.
      config_file, vocab_file: paths.
      sizes: those of the configuration.
      floatx: type of the variables: "float32", "float16" or "bfloat16"; of all but the kernels in an int8 checkpoint.
    """

    checkpoint: str
    config_file: str
    vocab_file: str
    sizes: inputs.BertSizes
    floatx: str


def find(
    init_checkpoint: str,
    *,
    bert_config_file: str | None = None,
    vocab_file: str | None = None,
    floatx: str | None = None,
    wanted: Wanted = Wanted(),
) -> ModelFiles:
    """Finds the files and checks all of them, the checkpoint to its last byte.

    Args:
      init_checkpoint: a prefix, or a directory with one checkpoint in it.
      bert_config_file, vocab_file: by default bert_config.json and vocab.txt beside the checkpoint.
      floatx: the type that the checkpoint must have; by default it may have any.
      wanted: how the model is quantized.

    Raises:
      WrapError: one sentence that names the file, what is wrong with it and what to do.
    """
    try:
        prefix = find_checkpoint(init_checkpoint)
        folder = init_checkpoint if os.path.isdir(init_checkpoint) else os.path.dirname(prefix) or "."
        bert_config_file = bert_config_file or _beside(folder, "bert_config.json", "--bert_config_file")
        vocab_file = vocab_file or _beside(folder, "vocab.txt", "--vocab_file")
        sizes = inputs.read_config(bert_config_file)
        inputs.check_vocab(vocab_file, sizes)
        embeddings = Checkpoint(prefix).variables.get(_EMBEDDINGS)
    except CheckpointError as error:
        raise WrapError(f"{_FLAG}: {error}") from error
    if embeddings is None:
        raise WrapError(f"{_FLAG}={prefix}: it is no BERT in Google's format: it has no variable {_EMBEDDINGS}")
    floatx = floatx or embeddings.dtype.name
    checkpoints.check_for_inference(prefix, _FLAG, RUN_SQUAD, sizes, 2, floatx, restored=False, wanted=wanted)
    return ModelFiles(prefix, bert_config_file, vocab_file, sizes, floatx)


def _beside(folder: str, name: str, flag: str) -> str:
    path = os.path.join(folder, name)
    if not os.path.isfile(path):
        raise WrapError(f"{path} does not exist: the checkpoint's directory must hold {name}, or name the file with {flag}")
    return path
