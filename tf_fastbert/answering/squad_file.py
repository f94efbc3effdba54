"""Answers all questions of a SQuAD file into predictions.json, as run_squad --do_predict does."""

from __future__ import annotations

import json
import os
import tempfile
import time

from tqdm import tqdm

from tf_fastbert.answering.answerer import QuestionAnswerer
from tf_fastbert.wrap.errors import WrapError

# Batches whose features and logits are in memory at once, and that the bar moves by.
_BATCHES = 8


def answer(answerer: QuestionAnswerer, squad_json: str, output_file: str) -> str:
    """Reads `squad_json`, writes question id -> answer to `output_file` when all are there; returns a line about it.

    Raises:
      WrapError: a file cannot be read or written.
    """
    examples = answerer.read_squad(squad_json)
    start = time.monotonic()
    predictions: dict[str, str] = {}
    step = _BATCHES * answerer.settings.batch_size
    with tqdm(total=len(examples), desc="answering", unit=" questions") as bar:
        for first in range(0, len(examples), step):
            chunk = examples[first : first + step]
            predictions |= answerer.predict(chunk)
            bar.update(len(chunk))
    seconds = time.monotonic() - start
    _write(output_file, json.dumps(predictions, indent=4) + "\n")
    return f"{output_file}: {len(predictions)} answers in {seconds:.1f} s, {len(predictions) / seconds:.1f} questions/s"


def _write(path: str, text: str) -> None:
    """Writes `path` whole or not at all."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=os.path.dirname(path) or ".", prefix=".fastbert_", encoding="utf-8", delete=False
        ) as file:
            try:
                file.write(text)
                file.close()
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise WrapError(f"{path} cannot be written: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
