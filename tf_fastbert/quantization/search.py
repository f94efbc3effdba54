"""Chooses how ranges are chosen: for each kind of quantizer the method that changes the encoder's output least.

No method suits all. Few numbers of a BERT are far larger than the rest, and they matter at one place and not at the next:
cutting 1 in 10,000 off the input of the attention can cost 25 % of the output, and not doing so at a sum of the feed-forward
part 50 %. So each kind of quantizer is switched on alone, in all layers, with every candidate, and the output compared with the
float one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_fastbert.quantization import graph, ranges
from tf_fastbert.quantization.calibrate import Batch, Histogram, Progress, load_variables
from tf_fastbert.quantization.fake_quant import fake_quantize
from tf_fastbert.quantization.modes import Mode

CANDIDATES = (("max", 100.0), ("percentile", 99.999), ("percentile", 99.99), ("percentile", 99.9), ("mse", 100.0))
# Fields that the mode has off: any range would do.
_OFF = ("max", 100.0)


class _Switchable:
    """Hooks with every quantizer of a mode behind a switch: off while its amax, which is fed, is 0. Kernels stay as they are."""

    def __init__(self, tf: Any, mode: Mode, sites: Sequence[tuple[int, str]], amax: Any) -> None:
        self.residual = mode.residual
        self._tf, self._mode = tf, mode
        self._amax = {site: amax[i] for i, site in enumerate(sites)}

    def layer(self, index: int) -> graph.LayerHooks:
        return graph.ActivationHooks(index, self.quantize)

    def quantize(self, site: tuple[int, str], tensor: Any) -> Any:
        if site[1] not in self._mode.on:
            return tensor
        amax = self._amax[site]
        return self._tf.cond(amax > 0, lambda: fake_quantize(tensor, amax, fp8=self._mode.fp8), lambda: tensor)


def best_methods(
    modeling: Any,
    bert_config: Any,
    checkpoint: str | os.PathLike,
    batches: Sequence[Batch],
    histograms: Mapping[tuple[int, str], Histogram],
    mode: Mode,
    progress: Progress = lambda items, what: items,
) -> dict[str, tuple[str, float]]:
    """The method and percentile for each field of names.ACTIVATIONS, to be given to calibrate.choose_ranges.

    Args:
      modeling, bert_config, checkpoint: as for calibrate.collect.
      batches: a small sample will do; its float output is held in memory.
      histograms: what calibrate.collect returned.
      progress: wraps the trials, for a bar.
    """
    import tensorflow.compat.v1 as tf

    sites = list(histograms)
    with tf.Graph().as_default(), tf.Session() as session:
        inputs = [tf.placeholder(tf.int32, [None, None], name) for name in ("input_ids", "input_mask", "segment_ids")]
        amax = tf.placeholder(tf.float32, [len(sites)], "amax")
        with graph.hooked(modeling, _Switchable(tf, mode, sites, amax)):
            model = modeling.BertModel(bert_config, False, inputs[0], input_mask=inputs[1], token_type_ids=inputs[2])
        output = tf.boolean_mask(model.get_sequence_output(), tf.not_equal(inputs[1], 0))
        load_variables(tf, session, checkpoint)

        def run(values: np.ndarray) -> list[np.ndarray]:
            return [
                session.run(output, {amax: values, **dict(zip(inputs, (batch.input_ids, batch.input_mask, batch.segment_ids)))})
                for batch in batches
            ]

        exact = run(np.zeros(len(sites), np.float32))
        errors: dict[str, list[tuple[float, tuple[str, float]]]] = {field: [] for field in sorted(mode.on)}
        for field, method in progress([(field, method) for field in errors for method in CANDIDATES], "trials"):
            values = np.array(
                [
                    ranges.amax_of(method[0], histograms[site].counts, histograms[site].largest, method[1])
                    if site[1] == field
                    else 0.0
                    for site in sites
                ],
                np.float32,
            )
            error = sum(float(np.sum((a - b) ** 2)) for a, b in zip(run(values), exact))
            errors[field].append((error, method))
    fields = {field for _, field in sites}
    return {field: min(errors[field])[1] if field in errors else _OFF for field in fields}
