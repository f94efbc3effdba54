"""What a SavedModel of ours computes and how its inputs are made: kept beside the graph as assets.extra/tf_fastbert.json."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

TASKS = ("squad", "classifier", "encoder")
INPUTS = ("ids", "strings")
# TensorFlow reads nothing in this folder of a SavedModel: it is for what belongs to a model and is no part of its graph.
FOLDER = "assets.extra"
FILE = "tf_fastbert.json"
VOCAB, CONFIG = "vocab.txt", "bert_config.json"
_FORMAT = 1


class ExportError(Exception):
    """A mistake in the command line or in a file; the message names the culprit and what to do."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """A SavedModel's settings.

    Attributes:
      task: "squad" (start and end logits), "classifier" (probabilities) or "encoder" (sequence and pooled output).
      floatx: type of the weights that are no int8 kernels.
      quantization: "int8_mode1", "int8_mode2", "fp8" or None.
      max_position_embeddings: the longest sequence that the model takes.
      do_lower_case: how its texts are tokenized.
      labels: of a classifier, in the order of its probabilities; None: not known.
      num_labels: of a classifier, else None.
      inputs: "ids", or "strings" if there is a signature that takes text too.
      max_seq_length, max_query_length, doc_stride, max_answer_length: how the signature for text cuts it, and what
        tools/batch_answer.py does unless told otherwise.
      tensorflow: the version that wrote it.
    """

    task: str
    floatx: str
    max_position_embeddings: int
    quantization: str | None = None
    do_lower_case: bool = True
    labels: tuple[str, ...] | None = None
    num_labels: int | None = None
    inputs: str = "ids"
    max_seq_length: int = 384
    max_query_length: int = 64
    doc_stride: int = 128
    max_answer_length: int = 30
    tensorflow: str = ""

    def label_names(self) -> list[str]:
        """The labels; "0", "1", ... where they are not known."""
        return list(self.labels) if self.labels else [str(i) for i in range(self.num_labels or 0)]


def check_lengths(settings: Settings) -> None:
    """Sees that max_seq_length and what depends on it can be.

    Raises:
      ExportError: naming the first that cannot.
    """
    longest = settings.max_seq_length
    if not 4 <= longest <= settings.max_position_embeddings:
        raise ExportError(
            f"--max_seq_length={longest}: it must be from 4 to {settings.max_position_embeddings} (max_position_embeddings of "
            "the model)"
        )
    if settings.task == "squad" and longest <= settings.max_query_length + 3:
        raise ExportError(
            f"--max_seq_length={longest}: it must be greater than --max_query_length ({settings.max_query_length}) plus 3"
        )
    for name in ("max_query_length", "doc_stride", "max_answer_length"):
        if getattr(settings, name) < 1:
            raise ExportError(f"--{name}={getattr(settings, name)}: it must be positive")


def write_settings(folder: str, settings: Settings) -> None:
    """Writes the settings into the SavedModel in `folder`."""
    with open(os.path.join(folder, FOLDER, FILE), "w", encoding="utf-8") as file:
        json.dump({"format": _FORMAT, **dataclasses.asdict(settings)}, file, indent=2)
        file.write("\n")


def extra_file(folder: str, name: str) -> str:
    """The path of a file that came along with the SavedModel in `folder`."""
    return os.path.join(folder, FOLDER, name)


def read_settings(folder: str) -> Settings:
    """The settings of the SavedModel in `folder`.

    Raises:
      ExportError: there is none of ours; the message says how to make one.
    """
    if not os.path.isfile(os.path.join(folder, "saved_model.pb")):
        versions = sorted(name for name in (os.listdir(folder) if os.path.isdir(folder) else ()) if name.isdigit())
        hint = f" (its subfolder {versions[-1]} may be what you mean)" if versions else ""
        raise ExportError(f"{folder} is no SavedModel: there is no saved_model.pb in it{hint}")
    path = extra_file(folder, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            content: dict[str, Any] = json.load(file)
    except FileNotFoundError as error:
        raise ExportError(f"{folder} has no {FOLDER}/{FILE}: it was not written by tools/export_saved_model.py") from error
    except (OSError, ValueError) as error:
        raise ExportError(f"{path} cannot be read: {error}") from error
    if content.pop("format", None) != _FORMAT:
        raise ExportError(f"{path} was written by another version of tf_fastbert: export the model again")
    known = {field.name for field in dataclasses.fields(Settings)}
    if not isinstance(content, dict) or not content.keys() <= known:
        raise ExportError(f"{path} has unknown entries: {', '.join(sorted(content.keys() - known))}; export the model again")
    if content.get("labels") is not None:
        content["labels"] = tuple(content["labels"])
    return Settings(**content)
