"""The tiny model of tests/wrap with ranges that were made up, not calibrated: fast, and never right by accident."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.wrap import tiny_model
from tf_fastbert.checkpoint import Checkpoint
from tf_fastbert.quantization import calibrate, names, ranges

LAYERS = tiny_model.CONFIG["num_hidden_layers"]
HIDDEN, INNER = tiny_model.CONFIG["hidden_size"], tiny_model.CONFIG["intermediate_size"]


def made_up_ranges(source: str, per_channel: bool = True, seed: int = 5) -> dict[tuple[int, str], np.ndarray]:
    """For every quantizer: kernels by their largest value, activations at random."""
    rng = np.random.default_rng(seed)
    amax = {(layer, field): np.float32(rng.uniform(1, 9)) for layer in range(LAYERS) for field in names.ACTIVATIONS}
    for site, kernel in calibrate.read_kernels(source).items():
        amax[site] = ranges.kernel_amax(kernel, per_channel=per_channel)
    return amax


def write_ranges(folder: Path, name: str, per_channel: bool = True) -> str:
    """Writes folder/bert_model.ckpt with made-up ranges; returns the prefix."""
    source, destination = str(folder / "bert_model.ckpt"), str(folder / name)
    calibrate.write_calibrated(source, destination, made_up_ranges(source, per_channel))
    return destination


def tensors(prefix: str) -> dict[str, np.ndarray]:
    checkpoint = Checkpoint(prefix)
    return {name: checkpoint.read(name) for name in checkpoint.variables}
