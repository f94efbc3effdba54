"""Chosen cases of FastBertEncoder: accuracy over twelve layers, lengths, masks, padding, options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import run_op
from tests.random_configs import Config, check_output, make_inputs
from tf_fastbert.ops import LayerWeights

NAN = float("nan")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("size_per_head", [32, 64])
def test_twelve_layers(dtype: str, size_per_head: int, device: str) -> None:
    config = Config(
        seed=7, num_layers=12, num_heads=4, size_per_head=size_per_head, inner_size=512, batch=3, seq_len=40, dtype=dtype
    )
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


@pytest.mark.parametrize("remove_padding", [True, False])
@pytest.mark.parametrize("lengths", [(0, 0, 0), (0, 5, 9), (9, 0, 1), (1, 1, 1), (9, 9, 9)])
def test_lengths(lengths: tuple[int, ...], remove_padding: bool, device: str) -> None:
    config = Config(seed=1, batch=3, seq_len=9, lengths=lengths, remove_padding=remove_padding, padding=NAN, all_layers=True)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("remove_padding", [True, False])
@pytest.mark.parametrize("mask", ["prefix", "holes"])
def test_masks(mask: str, remove_padding: bool, dtype: str, device: str) -> None:
    config = Config(seed=2, batch=4, seq_len=21, mask=mask, dtype=dtype, remove_padding=remove_padding, padding=NAN)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


def test_mask_of_each_kind_in_one_batch(device: str) -> None:
    config = Config(seed=3, batch=5, seq_len=6)
    inputs = make_inputs(config)
    mask = np.array([[1] * 6, [0] * 6, [0, 0, 0, 0, 0, 1], [1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 7, -1]], np.int32)
    inputs = inputs._replace(sequence_length=mask)
    check_output(config, inputs, run_op(config, inputs, device))


@pytest.mark.parametrize("dtype", [np.int64, bool])
def test_other_types_of_mask(dtype: type, device: str) -> None:
    config = Config(seed=4, batch=3, seq_len=7, mask="holes")
    inputs = make_inputs(config)
    inputs = inputs._replace(sequence_length=inputs.sequence_length.astype(dtype))
    check_output(config, inputs, run_op(config, inputs, device))


@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu_erf", "relu"])
@pytest.mark.parametrize("layer_norm", ["post", "pre"])
@pytest.mark.parametrize("all_layers", [False, True])
def test_options(activation: str, layer_norm: str, all_layers: bool, device: str) -> None:
    config = Config(seed=5, num_layers=3, seq_len=12, activation=activation, layer_norm=layer_norm, all_layers=all_layers)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


def test_gelus_differ(device: str) -> None:
    config = Config(seed=5)
    inputs = make_inputs(config)
    tanh = run_op(config, inputs, device)
    erf = run_op(config, inputs, device, activation="gelu_erf")
    assert np.abs(tanh - erf).max() > 1e-4


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("batch", [1, 5])
def test_one_token(batch: int, dtype: str, device: str) -> None:
    config = Config(seed=6, batch=batch, seq_len=1, lengths=(1,) * batch, dtype=dtype)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


@pytest.mark.parametrize(("batch", "seq_len"), [(0, 5), (3, 0), (0, 0)])
def test_empty(batch: int, seq_len: int, device: str) -> None:
    config = Config(seed=8, batch=batch, seq_len=seq_len, lengths=(0,) * batch, all_layers=True)
    assert run_op(config, make_inputs(config), device).shape == (2, batch, seq_len, 64)


@pytest.mark.parametrize("size_per_head", [2, 6, 18, 34, 50, 98, 126, 128])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_any_even_head_size(size_per_head: int, dtype: str, device: str) -> None:
    heads = -(-48 // size_per_head)
    config = Config(seed=9, num_heads=heads, size_per_head=size_per_head, inner_size=37, seq_len=11, dtype=dtype)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


def test_unaligned_tensors() -> None:
    """From DLPack, which asks for no alignment. On a CPU."""

    def unaligned(array: np.ndarray) -> tf.Tensor:
        memory = np.empty(array.nbytes + 68, np.uint8)
        start = -memory.ctypes.data % 64 + 4
        copy = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        copy[...] = array
        return tf.experimental.dlpack.from_dlpack(copy.__dlpack__())

    for mask in ("lengths", "holes"):
        config = Config(seed=13, batch=3, seq_len=5, mask=mask)
        inputs = make_inputs(config)
        layers = [LayerWeights(*map(unaligned, layer)) for layer in inputs.layers]
        moved = inputs._replace(hidden_states=unaligned(inputs.hidden_states), sequence_length=unaligned(inputs.sequence_length))
        check_output(config, inputs, run_op(config, moved, "/CPU:0", layers))


def test_large_epsilon(device: str) -> None:
    config = Config(seed=10, epsilon=0.5)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


def test_tf32_is_close(device: str) -> None:
    config = Config(seed=11, num_layers=4)
    inputs = make_inputs(config)
    exact = run_op(config, inputs, device)
    rounded = run_op(config, inputs, device, precision="tf32")
    assert np.linalg.norm(exact - rounded) <= 5e-3 * np.linalg.norm(exact)


@pytest.mark.parametrize("tf32", [False, True])
def test_default_precision_is_tensorflows_own(device: str, tf32: bool) -> None:
    config = Config(seed=11, num_layers=2)
    inputs = make_inputs(config)
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    try:
        got = run_op(config, inputs, device, precision="default")
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    # TensorFlow's products on a CPU never round to TF32; ours do only if asked to.
    same = "tf32" if tf32 and "GPU" in device else "float32"
    assert np.array_equal(got, run_op(config, inputs, device, precision=same))
    check_output(config, inputs, run_op(config, inputs, device, precision="float32"))


def test_long_sequence(device: str) -> None:
    config = Config(
        seed=12, num_layers=1, num_heads=1, size_per_head=32, inner_size=32, batch=2, seq_len=1100, lengths=(1100, 513)
    )
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))


def test_one_model_after_another_of_other_sizes(device: str) -> None:
    """Eager kernels are shared by models of the same attributes, also where inner sizes differ."""
    configs = [Config(seed=20 + i, inner_size=inner, batch=i + 1) for i, inner in enumerate([16, 300, 16, 1])]
    for config in configs + [dataclasses.replace(configs[0], seq_len=31)]:
        inputs = make_inputs(config)
        check_output(config, inputs, run_op(config, inputs, device))
