"""Checkpoints of the tiny model, SavedModels of them, and what Google's own graph gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.quantization.tiny_quantized import write_ranges
from tests.wrap import tiny_model
from tf_fastbert import export, patching
from tf_fastbert.checkpoint.cast import cast_checkpoint
from tf_fastbert.quantization.convert import quantize_checkpoint

# Checkpoint -> how it is patched in and exported.
KINDS: dict[str, dict[str, Any]] = {
    "float32": {},
    "float16": {"floatx": "float16"},
    "bfloat16": {"floatx": "bfloat16"},
    "int8_1": {"int8_mode": 1},
    "int8_2": {"int8_mode": 2},
    "fp8": {"precision": "fp8"},
}
LENGTHS = (11, 5, 1, 8)
NAMES = ("input_ids", "input_mask", "segment_ids")


def write_checkpoints(folder: Path) -> None:
    """The tiny model in all KINDS, as <kind>.ckpt."""
    tiny_model.write_model(folder)
    calibrated = write_ranges(folder, "calibrated.ckpt")
    for mode, name in ((1, "int8_1"), (2, "int8_2"), ("fp8", "fp8")):
        quantize_checkpoint(calibrated, str(folder / f"{name}.ckpt"), mode)
    for name in ("float16", "bfloat16"):
        cast_checkpoint(str(folder / "bert_model.ckpt"), str(folder / f"{name}.ckpt"), name)


def checkpoint(folder: Path, kind: str) -> str:
    return str(folder / ("bert_model.ckpt" if kind == "float32" else f"{kind}.ckpt"))


def export_tiny(folder: Path, output: Path, kind: str = "float32", **options: Any) -> Any:
    """Exports <kind>.ckpt; by default for squad."""
    options = {"task": "squad", **{name: value for name, value in KINDS[kind].items() if name != "floatx"}, **options}
    return export.export_saved_model(
        checkpoint(folder, kind), folder / "bert_config.json", folder / "vocab.txt", output, **options
    )


def batch(lengths: tuple[int, ...] = LENGTHS, seed: int = 1) -> dict[str, np.ndarray]:
    """Ids, mask and segments, int32 [B, S]; the second sequence's mask has a hole if it is long enough."""
    rng = np.random.default_rng(seed)
    shape = (len(lengths), max(lengths))
    mask = (np.arange(shape[1]) < np.array(lengths)[:, None]).astype(np.int32)
    if len(lengths) > 1 and lengths[1] > 3:
        mask[1, 2] = 0
    ids = rng.integers(1, tiny_model.CONFIG["vocab_size"], shape).astype(np.int32)
    return {"input_ids": ids, "input_mask": mask, "segment_ids": rng.integers(0, 2, shape).astype(np.int32)}


def google(
    tf1: Any, script: Any, folder: Path, prefix: str, inputs: dict[str, np.ndarray], patch: dict[str, Any] | None = None
) -> list[np.ndarray]:
    """The outputs of Google's create_model: start and end logits of run_squad, probabilities of run_classifier.

    Args:
      patch: options of patching.patched; None: Google's code as it is.
    """
    is_squad = hasattr(script, "write_predictions")
    with tf1.Graph().as_default(), tf1.Session() as session:
        arguments = [script.modeling.BertConfig.from_json_file(str(folder / "bert_config.json")), False]
        arguments += [tf1.constant(inputs[name]) for name in NAMES]

        def build() -> Any:
            if is_squad:
                return script.create_model(*arguments, False)
            labels = tf1.zeros([len(inputs["input_ids"])], tf1.int32)
            return script.create_model(*arguments, labels, 2, False)[3:]

        if patch is None:
            outputs = build()
        else:
            with patching.patched(script.modeling, run_squad=script if is_squad else None, **patch):
                outputs = build()
        tf1.train.Saver(tf1.global_variables()).restore(session, prefix)
        return session.run(list(outputs))
