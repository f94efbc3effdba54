"""Calibration: the user's data goes through Google's graph, and every quantizer's range is chosen from what it saw.

Two passes over the data: the first finds the largest value at each quantizer, the second counts absolute values in equal parts of
that. Memory is bounded by the histograms (BINS counts a quantizer) and one batch. Padding is not counted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tf_fastbert.checkpoint import Checkpoint, CheckpointError, write_checkpoint
from tf_fastbert.quantization import graph, names, ranges
from tf_fastbert.quantization.modes import Mode

BINS = 4096
Progress = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclasses.dataclass
class Histogram:
    """The absolute values that one quantizer saw: how many in each of equal parts of [0, largest]."""

    largest: float
    counts: np.ndarray  # int64 [BINS]


@dataclasses.dataclass(frozen=True)
class Batch:
    """Token ids, mask (1 = valid) and segment ids, int32 [B, S]."""

    input_ids: np.ndarray
    input_mask: np.ndarray
    segment_ids: np.ndarray


class _Collector:
    """Hooks that look at the tensors and hand them on."""

    residual = False

    def __init__(self, tf: Any, valid: Any) -> None:
        """valid: bool [B, S]."""
        self._tf, self._valid = tf, valid
        self.sites: list[tuple[int, str]] = []
        self.tensors: list[Any] = []

    def layer(self, index: int) -> graph.LayerHooks:
        return graph.ActivationHooks(index, self.record)

    def record(self, site: tuple[int, str], tensor: Any) -> Any:
        """Keeps |tensor|, -1 where a token is padding, and returns the tensor."""
        tf, valid = self._tf, self._valid
        if tensor.shape.rank == 4:  # attention: both tokens must be valid
            valid = tf.expand_dims(tf.logical_and(tf.expand_dims(valid, 1), tf.expand_dims(valid, 2)), 1)
        else:
            valid = tf.expand_dims(valid, 2)
        self.sites.append(site)
        self.tensors.append(tf.where_v2(valid, tf.abs(tensor), -1.0))
        return tensor

    def largest(self) -> Any:
        """float32 [sites]."""
        return self._tf.stack([self._tf.reduce_max(tensor) for tensor in self.tensors])

    def counts(self, largest: Any) -> Any:
        """int32 [sites, BINS]."""
        tf = self._tf
        rows = []
        for i, tensor in enumerate(self.tensors):
            position = tf.cast(tensor * (BINS / tf.maximum(largest[i], 1e-30)), tf.int32)
            # bincount drops what is BINS or more: padding.
            position = tf.where_v2(tensor < 0, BINS, tf.minimum(position, BINS - 1))
            rows.append(tf.math.bincount(tf.reshape(position, [-1]), minlength=BINS, maxlength=BINS))
        return tf.stack(rows)


def collect(
    modeling: Any,
    bert_config: Any,
    checkpoint: str | os.PathLike,
    batches: Sequence[Batch],
    progress: Progress = lambda items, what: items,
) -> dict[tuple[int, str], Histogram]:
    """Runs `batches` through Google's model.

    Args:
      modeling: Google's modeling module, not patched.
      bert_config: a modeling.BertConfig.
      checkpoint: float variables of any width; computed in float32.
      progress: wraps the batches of each of the two passes, for a bar.

    Returns:
      (layer, field of names.ACTIVATIONS) -> Histogram.

    Raises:
      CheckpointError: a variable of the model is missing, is no float, or a quantizer saw a value that is not finite.
    """
    import tensorflow.compat.v1 as tf

    if not batches:
        raise ValueError("there is nothing to calibrate with: no batch")
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = [tf.placeholder(tf.int32, [None, None], name) for name in ("input_ids", "input_mask", "segment_ids")]
        collector = _Collector(tf, tf.not_equal(inputs[1], 0))
        with graph.hooked(modeling, collector):
            modeling.BertModel(bert_config, False, inputs[0], input_mask=inputs[1], token_type_ids=inputs[2])
        largest_so_far = tf.placeholder(tf.float32, [len(collector.sites)])
        find_largest, count = collector.largest(), collector.counts(largest_so_far)
        load_variables(tf, session, checkpoint)

        def feed(batch: Batch) -> dict[Any, np.ndarray]:
            return dict(zip(inputs, (batch.input_ids, batch.input_mask, batch.segment_ids)))

        largest = np.zeros(len(collector.sites), np.float32)
        for batch in progress(batches, "ranges"):
            largest = np.maximum(largest, session.run(find_largest, feed(batch)))
        for (layer, field), value in zip(collector.sites, largest):
            if not np.isfinite(value):
                raise CheckpointError(
                    f"checkpoint {os.fspath(checkpoint)}: layer {layer}'s {field} reaches {value} on this data: the model is "
                    "damaged, or it was trained with other settings than in bert_config.json"
                )
        counts = np.zeros((len(largest), BINS), np.int64)
        for batch in progress(batches, "histograms"):
            counts += session.run(count, {**feed(batch), largest_so_far: largest})
    return {site: Histogram(float(value), row) for site, value, row in zip(collector.sites, largest, counts)}


def load_variables(tf: Any, session: Any, checkpoint: str | os.PathLike) -> None:
    """Sets every variable of the graph but the pooler's from the checkpoint, in float32."""
    reader = Checkpoint(os.fspath(checkpoint))
    variables = tf.global_variables()
    for variable in variables:
        name = variable.op.name
        if name not in reader.variables:
            if "/pooler/" in name:  # nothing that is calibrated depends on it
                continue
            raise CheckpointError(f"checkpoint {reader.prefix} has no variable {name}: it is no BERT in Google's format")
        stored = reader.variables[name]
        if not stored.dtype.is_floating:
            raise CheckpointError(
                f"checkpoint {reader.prefix}: variable {name} is {stored.dtype.name}: a quantized checkpoint cannot be "
                "calibrated, use the float checkpoint that it was made from"
            )
        if stored.shape != tuple(variable.shape.as_list()):
            raise CheckpointError(
                f"checkpoint {reader.prefix}: variable {name} has shape {list(stored.shape)}, but bert_config.json asks for "
                f"{variable.shape.as_list()}"
            )
        variable.load(reader.read(name).astype(np.float32), session)


def choose_ranges(
    histograms: Mapping[tuple[int, str], Histogram],
    kernels: Mapping[tuple[int, str], np.ndarray],
    mode: Mode,
    methods: Mapping[str, tuple[str, float]],
) -> dict[tuple[int, str], np.ndarray]:
    """The amax of every quantizer: (layer, field) -> float32, a scalar, or [out] for a kernel unless mode is fp8.

    Args:
      methods: field of names.ACTIVATIONS -> (method, percentile), see ranges.amax_of.

    Raises:
      ValueError: see ranges.amax_of; or a quantizer saw zeros only.
    """
    amax: dict[tuple[int, str], Any] = {}
    for (layer, field), histogram in histograms.items():
        method, percentile = methods[field]
        value = ranges.amax_of(method, histogram.counts, histogram.largest, percentile)
        if not value > 0:
            raise ValueError(f"layer {layer}'s {field} is zero for all of the data: there is no range to choose")
        amax[layer, field] = np.float32(value)
    for site, kernel in kernels.items():
        amax[site] = ranges.kernel_amax(kernel, per_channel=not mode.fp8)
    return amax


def read_kernels(checkpoint: str | os.PathLike) -> dict[tuple[int, str], np.ndarray]:
    """The kernels of all layers: (layer, field of names.KERNELS) -> float32 [in, out]."""
    from tf_fastbert.weights import weights_from_checkpoint

    layers = weights_from_checkpoint(checkpoint, dtype="float32")
    return {(i, field): getattr(layer, field) for i, layer in enumerate(layers) for field in names.KERNELS}


def write_calibrated(source: str, destination: str, amax: Mapping[tuple[int, str], np.ndarray]) -> None:
    """Writes `source` with the quantizers' variables, float32, to the prefix `destination`. Ranges it had before are replaced.

    Raises:
      CheckpointError: `source` is unreadable, `destination` is the same checkpoint or cannot be written; then nothing is written.
    """
    checkpoint = Checkpoint(source)
    if os.path.realpath(checkpoint.prefix) == os.path.realpath(destination):
        raise CheckpointError(f"{destination} is the input checkpoint itself: give another name to write to")
    tensors: dict[str, Any] = {
        name: checkpoint.read(name) for name in checkpoint.variables if not names.is_range(name)
    }
    for (layer, field), value in amax.items():
        high, low = names.range_names(layer, field)
        tensors[high] = np.asarray(value, np.float32)
        tensors[low] = -tensors[high]
    write_checkpoint(destination, tensors)
