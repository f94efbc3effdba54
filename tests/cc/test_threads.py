"""Sessions, threads and thread pools: many calls at once give the same results as one after another."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.op_runner import as_arrays, as_variables, new_session, run_op, run_python
from tests.random_configs import Config, Inputs, check_output, make_inputs
from tf_fastbert.ops import LayerWeights, fast_bert_encoder

CONFIG = Config(seed=51, num_layers=2, inner_size=80, batch=4, seq_len=19)
THREADS = 8
tf1 = tf.compat.v1


def graph_of(inputs: Inputs, device: str, use_resource: bool) -> tuple[tf.Graph, Any, Any, Any]:
    with tf.Graph().as_default() as graph:
        hidden, lengths = tf1.placeholder(tf.float32, [None, None, 64]), tf1.placeholder(tf.int32, [None])
        with tf.device(device):
            layers = [
                LayerWeights(*[tf1.Variable(array, use_resource=use_resource) for array in layer]) for layer in inputs.layers
            ]
            output = fast_bert_encoder(hidden, lengths, layers, **CONFIG.attributes())
    return graph, hidden, lengths, output


@pytest.mark.parametrize("use_resource", [True, False], ids=["resource", "ref"])
def test_two_sessions_and_eight_threads(use_resource: bool, device: str) -> None:
    inputs = make_inputs(CONFIG)
    graph, hidden, lengths, output = graph_of(inputs, device, use_resource)
    with graph.as_default():
        initialize = tf1.global_variables_initializer()
    with new_session(graph) as first, new_session(graph) as second:
        for session in (first, second):
            session.run(initialize)
        start = threading.Barrier(THREADS)  # also the first call, which prepares the weights, comes from all threads at once

        def work(thread: int) -> list[tuple[Config, Inputs, np.ndarray]]:
            results = []
            start.wait()
            for i in range(6):
                config = dataclasses.replace(
                    CONFIG, seed=thread * 100 + i, batch=1 + (thread + i) % 5, seq_len=1 + (thread * 7 + i * 5) % 30
                )
                call = make_inputs(config)._replace(layers=inputs.layers)
                session = (first, second)[(thread + i) % 2]
                results.append((config, call, session.run(output, {hidden: call.hidden_states, lengths: call.sequence_length})))
            return results

        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            for results in pool.map(work, range(THREADS)):
                for config, call, result in results:
                    check_output(config, call, result)


@pytest.mark.parametrize("trusted", [True, False])
def test_eager_threads_with_different_models(trusted: bool, device: str) -> None:
    """One kernel, more models than sets of prepared weights that it keeps."""
    configs = [dataclasses.replace(CONFIG, seed=300 + i) for i in range(THREADS)]
    all_inputs = [make_inputs(config) for config in configs]
    with tf.device(device):
        models = [as_variables(inputs) if trusted else as_arrays(inputs) for inputs in all_inputs]

    def work(thread: int) -> np.ndarray:
        return [run_op(configs[thread], all_inputs[thread], device, models[thread]) for _ in range(5)][-1]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for config, inputs, result in zip(configs, all_inputs, pool.map(work, range(THREADS))):
            check_output(config, inputs, result)


def test_variable_updated_while_others_run(device: str) -> None:
    """Every result belongs to one of the values the variable had: never to a freed or half-prepared set."""
    inputs = make_inputs(CONFIG)
    with tf.device(device):
        layers = as_variables(inputs)
    values = [inputs.layers[0].output_bias, inputs.layers[0].output_bias + 1]
    expected = []
    for value in values:
        layers[0].output_bias.assign(value)
        expected.append(run_op(CONFIG, inputs, device, layers))
    stop = threading.Event()

    def update() -> None:
        while not stop.is_set():
            for value in values:
                layers[0].output_bias.assign(value)

    def read(_: int) -> list[np.ndarray]:
        return [run_op(CONFIG, inputs, device, layers) for _ in range(15)]

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        updater = pool.submit(update)
        try:
            outputs = [output for results in pool.map(read, range(4)) for output in results]
        finally:
            stop.set()
        updater.result()
    for output in outputs:
        assert any(np.allclose(output, value, atol=1e-5) for value in expected)


POOL = """
import sys
import tensorflow as tf
threads, device = int(sys.argv[1]), sys.argv[2]
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(1)
from tests.op_runner import run_op
from tests.random_configs import Config, check_output, make_inputs
for batch, seq_len in [(1, 1), (7, 33)]:
    config = Config(seed=61, inner_size=80, batch=batch, seq_len=seq_len)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, device))
# Eight calls inside one function, on the pools' own threads.
from tf_fastbert.ops import fast_bert_encoder
from tests.op_runner import as_variables
layers = as_variables(inputs)
@tf.function
def many():
    return tf.map_fn(
        lambda x: fast_bert_encoder(x, inputs.sequence_length, layers, **config.attributes()), x, parallel_iterations=8)
with tf.device(device):
    x = tf.stack([tf.constant(inputs.hidden_states)] * 8)
    for output in many().numpy():
        check_output(config, inputs, output)
# And on the threads of a tf.data pipeline, which are not the pools'.
if "CPU" in device:
    data = tf.data.Dataset.from_tensor_slices(x).map(
        lambda x: fast_bert_encoder(x, inputs.sequence_length, layers, **config.attributes()), num_parallel_calls=4)
    for output in data:
        check_output(config, inputs, output.numpy())
print("passed")
"""


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_size_of_the_thread_pool(threads: int, device: str) -> None:
    assert "passed" in run_python("-c", POOL, str(threads), device)
