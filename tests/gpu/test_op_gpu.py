"""FastBertEncoder inside GPU TensorFlow: random configurations against the float64 reference, streams, memory.

tests/cc runs unchanged on a GPU too; this folder holds what is too large for a CPU in CI or only means something on a GPU.
"""

from __future__ import annotations

import concurrent.futures

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import as_arrays, as_variables, run_op
from tests.random_configs import Config, check_output, make_inputs, random_config
from tf_fastbert.ops import fast_bert_encoder

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("seed", range(1000, 1220))
def test_random_config(seed: int, gpu_device: str) -> None:
    config = random_config(seed, small=False)
    print(config)
    inputs = make_inputs(config)
    layers = as_arrays(inputs) if seed % 4 == 0 else None
    check_output(config, inputs, run_op(config, inputs, gpu_device, layers))


@pytest.mark.parametrize("seed", range(60, 120))
def test_small_random_config(seed: int, gpu_device: str) -> None:
    config = random_config(seed, small=True)
    print(config)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, gpu_device))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("remove_padding", [True, False])
def test_bert_base(dtype: str, remove_padding: bool, gpu_device: str) -> None:
    config = Config(
        seed=1, num_layers=12, num_heads=12, size_per_head=64, inner_size=3072, batch=4, seq_len=128, lengths=(128, 50, 1, 0),
        dtype=dtype, remove_padding=remove_padding,
    )  # fmt: skip
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, gpu_device))


def test_order_with_the_ops_around_it(gpu_device: str) -> None:
    """Slow ops make the input and use the output: on another stream than TensorFlow's the op would see unfinished data."""
    config = Config(
        seed=2, num_layers=2, num_heads=4, size_per_head=64, inner_size=512, batch=4, seq_len=128, lengths=(128, 64, 1, 100)
    )
    inputs = make_inputs(config)
    with tf.device(gpu_device):
        layers = as_variables(inputs)
        big = tf.random.stateless_normal([4096, 4096], seed=(1, 2)) / 64.0

        @tf.function
        def chain(hidden: tf.Tensor) -> tf.Tensor:
            product = big
            for _ in range(8):
                product = tf.matmul(product, big)
            nothing = tf.reduce_sum(product) * 0.0
            output = fast_bert_encoder(hidden + nothing, inputs.sequence_length, layers, **config.attributes())
            return tf.identity(output) + nothing

        for _ in range(10):
            output = chain(tf.constant(inputs.hidden_states))
        check_output(config, inputs, output.numpy())


def test_many_threads_large_calls(gpu_device: str) -> None:
    config = Config(seed=3, num_layers=4, num_heads=8, size_per_head=64, inner_size=2048, batch=8, seq_len=256, dtype="float16")
    inputs = make_inputs(config)
    with tf.device(gpu_device):
        layers = as_variables(inputs)
    expected = run_op(config, inputs, gpu_device, layers)
    check_output(config, inputs, expected)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for output in pool.map(lambda _: run_op(config, inputs, gpu_device, layers), range(64)):
            np.testing.assert_allclose(output.astype(np.float32), expected.astype(np.float32), atol=2e-2)


def test_prepared_weights_do_not_pile_up(gpu_device: str) -> None:
    """Each assign makes the prepared weights obsolete; their memory comes back."""
    config = Config(seed=4, num_layers=4, num_heads=8, size_per_head=64, inner_size=2048, batch=1, seq_len=16)
    inputs = make_inputs(config)
    used = []
    with tf.device(gpu_device):
        layers = as_variables(inputs)
        for _ in range(12):
            for layer in layers:
                layer.query_kernel.assign(layer.query_kernel * 1.01)
            fast_bert_encoder(inputs.hidden_states, inputs.sequence_length, layers, **config.attributes()).numpy()
            used.append(tf.config.experimental.get_memory_info(gpu_device.strip("/"))["current"])
    weights = sum(array.nbytes for layer in inputs.layers for array in layer)
    assert max(used[2:]) - min(used[2:]) < weights // 2, used


def test_errors_leave_the_device_usable(gpu_device: str) -> None:
    config = Config(seed=5, batch=2, seq_len=8)
    inputs = make_inputs(config)
    for bad in ([9, 1], [-1, 3]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="sequence_length"):
            run_op(config, inputs._replace(sequence_length=np.array(bad, np.int32)), gpu_device)
    check_output(config, inputs, run_op(config, inputs, gpu_device))
