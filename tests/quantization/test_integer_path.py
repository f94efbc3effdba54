"""Three ways to the same numbers: the training graph with fake quantizers, integer arithmetic in NumPy, and the op on int8
weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import quantized_reference
from tests.google_bert import IDS, PREFIX_MASK, bert_config, build, load, modeling, random_values, tf1  # noqa: F401
from tf_fastbert import ops
from tf_fastbert.encoder import GOOGLE_NAMES
from tf_fastbert.quantization import amax_list, calibrate, convert, fake_quant, graph, modes, names, ranges

LENGTHS = PREFIX_MASK.sum(1)
QUANTIZATION = {"ft1": "int8_mode1", "ft2": "int8_mode2", "fp8": "fp8"}
# Both round the same values at the same places; a tie may go the other way where float32 sums differ in the last bit.
LAYER_ERROR = 2e-2


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


class Model:
    """A random model with ranges from its own activations, by three ways of computing it."""

    def __init__(self, tf1: Any, modeling: Any, tmp_path: Any, mode: modes.Mode) -> None:  # noqa: F811
        from tf_fastbert.checkpoint import write_checkpoint

        self.mode, config = mode, bert_config(modeling)
        with tf1.Graph().as_default():
            build(tf1, modeling)
            self.values = random_values(tf1, tf1.trainable_variables())
        write_checkpoint(str(tmp_path / "model.ckpt"), self.values)
        batch = calibrate.Batch(IDS.astype(np.int32), PREFIX_MASK.astype(np.int32), (IDS % 2).astype(np.int32))
        histograms = calibrate.collect(modeling, config, str(tmp_path / "model.ckpt"), [batch])
        self.amax = {site: np.float32(histogram.largest) for site, histogram in histograms.items()}
        self.layers, self.lists = [], []
        for i in range(config.num_hidden_layers):
            kernels, weights = {}, {}
            for field, name in GOOGLE_NAMES.items():
                weights[field] = self.values[f"{names.layer_path(i)}/{name}"]
                if field in names.KERNELS:
                    kernels[field] = ranges.kernel_amax(weights[field], per_channel=not mode.fp8)
                    if not mode.fp8:
                        weights[field] = convert.quantize_kernel(weights[field], kernels[field])
                    self.amax[i, field] = kernels[field]
            self.layers.append(ops.LayerWeights(**weights))
            activations = {field: float(self.amax[i, field]) for field in names.ACTIVATIONS}
            following = float(self.amax.get((i + 1, "attention_input"), 1.0))
            self.lists.append(amax_list.build(activations, kernels, 64, 96, following))

    def fake(self, tf1: Any, modeling: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: F811
        """The encoder's input and all layers' outputs in the training graph."""
        with tf1.Graph().as_default(), tf1.Session() as session:
            with graph.hooked(modeling, fake_quant.FakeQuantizer(self.mode)):
                model = build(tf1, modeling)
            load(tf1, session, self.values)
            variables = {v.op.name: v for v in tf1.global_variables()}
            for (layer, field), value in self.amax.items():
                for name, sign in zip(names.range_names(layer, field), (1, -1)):
                    variables[name].load(sign * value, session)
            embedded, *outputs = session.run([model.get_embedding_output(), *model.get_all_encoder_layers()])
        return embedded, np.stack(outputs) * (PREFIX_MASK[None, :, :, None] > 0)

    def reference(self, hidden: np.ndarray, quantization: str, layer: int | None = None) -> np.ndarray:
        """All layers' outputs, or that of one layer alone."""
        parsed = [amax_list.parse(values, 64, 96) for values in self.lists]
        chosen = slice(None) if layer is None else slice(layer, layer + 1)
        outputs = quantized_reference.encoder(hidden, LENGTHS, self.layers[chosen], parsed[chosen], 2, quantization)
        return outputs if layer is None else outputs[0]


@pytest.mark.parametrize("name", QUANTIZATION)
def test_training_graph_against_integers(tf1: Any, modeling: Any, tmp_path: Any, name: str) -> None:  # noqa: F811
    model = Model(tf1, modeling, tmp_path, modes.BY_NAME[name])
    embedded, fake = model.fake(tf1, modeling)
    integers = model.reference(embedded, QUANTIZATION[name])
    for layer, (a, b) in enumerate(zip(fake, integers, strict=True)):
        assert relative(a, b) < LAYER_ERROR / 4, layer


@pytest.mark.parametrize("name", ["ft1", "ft2"])
def test_op_against_integers(tf1: Any, modeling: Any, tmp_path: Any, device: str, name: str) -> None:  # noqa: F811
    import tensorflow as tf

    model = Model(tf1, modeling, tmp_path, modes.BY_NAME[name])
    embedded, _ = model.fake(tf1, modeling)
    with tf1.Graph().as_default(), tf1.Session() as session, tf.device(device):
        output = ops.fast_bert_quantized_encoder(
            tf.constant(embedded),
            tf.constant(LENGTHS, tf.int32),
            model.layers,
            model.lists,
            quantization=QUANTIZATION[name],
            num_heads=2,
            size_per_head=32,
            all_layers=True,
        )
        output = session.run(output)
    # Layer by layer, each from what the op gave it: errors of one do not add to those of the next. A backend may keep the sums
    # and the residual stream of mode 2 in more than int8; then it does what mode 1 does.
    errors = []
    for mode in {"int8_mode1", QUANTIZATION[name]}:
        inputs = [embedded, *output[:-1]]
        expected = [model.reference(x, mode, i) for i, x in enumerate(inputs)]
        errors.append(max(relative(a, b) for a, b in zip(output, expected, strict=True)))
    assert min(errors) < LAYER_ERROR
