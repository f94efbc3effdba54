"""patch(modeling, int8_mode=..., precision="fp8", quant_mode=...): variables, where they come from, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tf_fastbert
from tests.google_bert import PREFIX_MASK, build, modeling, random_values, tf1  # noqa: F401
from tf_fastbert.checkpoint import write_checkpoint
from tf_fastbert.quantization import amax_list, calibrate, detect, names, ranges
from tf_fastbert.quantization.convert import quantize_checkpoint


@pytest.fixture
def calibrated(tf1: Any, modeling: Any, tmp_path: Any) -> str:  # noqa: F811
    with tf1.Graph().as_default():
        build(tf1, modeling)
        write_checkpoint(str(tmp_path / "model.ckpt"), random_values(tf1, tf1.trainable_variables()))
    amax: dict[tuple[int, str], Any] = {(i, field): np.float32(8) for i in range(2) for field in names.ACTIVATIONS}
    for site, kernel in calibrate.read_kernels(str(tmp_path / "model.ckpt")).items():
        amax[site] = ranges.kernel_amax(kernel)
    calibrate.write_calibrated(str(tmp_path / "model.ckpt"), str(tmp_path / "calibrated.ckpt"), amax)
    return str(tmp_path / "calibrated.ckpt")


def run(tf1: Any, modeling: Any, checkpoint: str, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:  # noqa: F811
    """The valid rows of the output, with the weights loaded as Google's scripts do, and the graph's variables."""
    with tf1.Graph().as_default(), tf1.Session() as session, tf_fastbert.patched(modeling, **options):
        model = build(tf1, modeling)
        assignment, _ = modeling.get_assignment_map_from_checkpoint(tf1.trainable_variables(), checkpoint)
        tf1.train.init_from_checkpoint(checkpoint, assignment)
        session.run(tf1.global_variables_initializer())
        variables = {v.op.name: v for v in tf1.global_variables()}
        return session.run(model.get_sequence_output())[PREFIX_MASK > 0], variables


@pytest.mark.parametrize("floatx", ["float32", "float16"])
def test_int8_variables(tf1: Any, modeling: Any, calibrated: str, tmp_path: Any, floatx: str) -> None:  # noqa: F811
    from tf_fastbert.checkpoint.cast import cast_checkpoint

    exact, _ = run(tf1, modeling, calibrated)
    if floatx == "float16":
        cast_checkpoint(calibrated, str(tmp_path / "half.ckpt"))
        calibrated = str(tmp_path / "half.ckpt")
    quantized = str(tmp_path / "int8.ckpt")
    quantize_checkpoint(calibrated, quantized, 1)
    output, variables = run(tf1, modeling, quantized, int8_mode=1, floatx=floatx)
    for layer in range(2):
        ranges_list = variables[names.amax_list_name(layer)]
        assert ranges_list.dtype.base_dtype == tf1.float32 and "CPU:0" in ranges_list.device
        assert ranges_list.shape.as_list() == [amax_list.size(64, 96)]
        for field in names.KERNELS:
            assert variables[detect.kernel_name(layer, field)].dtype.base_dtype == tf1.int8
        assert variables[f"{names.layer_path(layer)}/output/dense/bias"].dtype.base_dtype == tf1.as_dtype(floatx)
    assert 1e-3 < np.linalg.norm(output - exact) / np.linalg.norm(exact) < 0.15


def test_fake_quantizers_get_their_ranges(tf1: Any, modeling: Any, calibrated: str) -> None:  # noqa: F811
    exact, _ = run(tf1, modeling, calibrated)
    output, variables = run(tf1, modeling, calibrated, quant_mode="ft2")
    assert sum(map(names.is_range, variables)) == 2 * 2 * 21
    # Ranges that were not loaded would be 1, and the output another one altogether.
    assert 1e-3 < np.linalg.norm(output - exact) / np.linalg.norm(exact) < 0.15
    original = modeling.get_assignment_map_from_checkpoint
    with tf_fastbert.patched(modeling, quant_mode="ft2"):
        assert modeling.get_assignment_map_from_checkpoint is not original
    assert modeling.get_assignment_map_from_checkpoint is original


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"int8_mode": 4}, "int8_mode is 4; it must be one of 0, 1, 2, 3"),
        ({"quant_mode": "trt"}, "quant_mode is 'trt'"),
        ({"int8_mode": 1, "precision": "fp8"}, "two ways to quantize: choose one"),
        ({"int8_mode": 1, "quant_mode": "ft1"}, "choose one"),
        ({"quant_mode": "ft1", "floatx": "float16"}, "runs in float32, not in float16"),
    ],
)
def test_options(modeling: Any, options: dict[str, Any], message: str) -> None:  # noqa: F811
    with pytest.raises(ValueError, match=message):
        tf_fastbert.patch(modeling, **options)


def test_a_quantized_model_does_not_train(tf1: Any, modeling: Any) -> None:  # noqa: F811
    with tf1.Graph().as_default(), tf_fastbert.patched(modeling, int8_mode=1):
        with pytest.raises(ValueError, match="cannot be trained: train the float model with patch.modeling, quant_mode"):
            build(tf1, modeling, is_training=True)
