"""Callables with the weights built in as constants: what to call for the lowest latency, when they do not change any more.

A call of BERT-base reads 192 variables of the encoder alone. TensorFlow passes each of them to the graph, reads it and passes it
on, which takes several times as long as everything else about the call; constants cost nothing.

    loaded = tf.saved_model.load(folder)                                     # TensorFlow 2
    answer = tf_fastbert.freeze(loaded.signatures["serving_default"])
    answer(input_ids=ids, input_mask=mask, segment_ids=segments)

    answer = tf_fastbert.freeze_session(session, [start_logits, end_logits], [ids, mask, segments])      # TensorFlow 1
    answer(ids_array, mask_array, segments_array)

The constants are a copy of the weights: what is assigned to the variables later is not seen. A graph of more than 2 GB cannot be
frozen (the limit of a GraphDef).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tf_fastbert.ops import load_library

# Ops of ours that prepare weights once if they know them to be constant.
_ENCODERS = frozenset({"FastBertEncoder", "FastBertQuantizedEncoder"})
_FORWARDING = frozenset({"Identity", "StopGradient"})


def freeze(function: Any) -> Callable[..., Any]:
    """A function of TensorFlow 2 with its variables as constants.

    Args:
      function: a ConcreteFunction, such as a loaded SavedModel's signature, or a tf.function with an input_signature. Its
        arguments are tensors.

    Returns:
      A callable with the same arguments, by position or by name, and the same results.

    Raises:
      TypeError: `function` is neither, or has arguments that are no tensors.
    """
    load_library()
    if hasattr(function, "get_concrete_function"):
        if getattr(function, "input_signature", None) is None:
            raise TypeError("freeze: the tf.function has no input_signature; give what its get_concrete_function(...) returns")
        function = function.get_concrete_function()
    if not hasattr(function, "structured_input_signature"):
        raise TypeError(f"freeze: expected a ConcreteFunction or a tf.function, not {function!r}")
    specs = tf.nest.flatten(function.structured_input_signature)
    if not all(isinstance(spec, tf.TensorSpec) for spec in specs):
        raise TypeError(f"freeze: not all arguments are tensors: {function.structured_input_signature}")
    inputs = function.inputs[: len(specs)]  # what it captures comes behind
    names = [tensor.op.name for tensor in inputs]
    graph_def = _constants_for_variables(function)
    outputs = [tensor.name for tensor in tf.nest.flatten(function.outputs)]
    imported = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), signature=[])
    imported = imported.prune([f"{name}:0" for name in names], outputs)
    structure = function.structured_outputs
    argument_names = [spec.name for spec in specs]

    @tf.function(input_signature=[tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in inputs])
    def run(*arguments: tf.Tensor) -> Any:
        return tf.nest.pack_sequence_as(structure, tf.nest.flatten(imported(*arguments)))

    # The one function behind `run`: to find it among those for other types costs a call a tenth of a millisecond.
    concrete = run.get_concrete_function()

    def call(*arguments: Any, **named: Any) -> Any:
        by_name = argument_names[len(arguments) :]
        if len(arguments) > len(argument_names) or named.keys() != set(by_name):
            got = f"{len(arguments)} and {', '.join(named)}" if named else str(len(arguments))
            raise TypeError(f"expected the arguments {', '.join(argument_names)}; got {got}")
        values = [*arguments, *(named[name] for name in by_name)]
        return concrete(*[_as_tensor(value, spec) for value, spec in zip(values, specs)])

    return call


def _as_tensor(value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    return value if isinstance(value, tf.Tensor) else tf.convert_to_tensor(value, spec.dtype, name=spec.name)


def _constants_for_variables(function: Any) -> Any:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    _, graph_def = convert_variables_to_constants_v2_as_graph(function, lower_control_flow=False)
    return _with_immutable_weights(graph_def)


def freeze_session(session: Any, fetches: Any, feed_list: Sequence[Any]) -> Callable[..., Any]:
    """What session.make_callable(fetches, feed_list) gives, on a copy of the session's graph with its variables as constants.

    Args:
      session: a tf.compat.v1.Session whose variables have their values.
      fetches: a tensor, or a nest of tensors.
      feed_list: the placeholders to feed, in the order of the callable's arguments.

    Returns:
      A callable: arrays for feed_list -> arrays in the structure of `fetches`. It keeps a session of its own.
    """
    tf1 = tf.compat.v1
    load_library()
    flat = tf.nest.flatten(fetches)
    outputs = list(dict.fromkeys(tensor.op.name for tensor in [*flat, *feed_list]))
    graph_def = tf1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), outputs)
    with tf.Graph().as_default() as graph:
        tensors = tf1.import_graph_def(
            _with_immutable_weights(graph_def), return_elements=[tensor.name for tensor in [*flat, *feed_list]], name=""
        )
    frozen = tf1.Session(graph=graph, config=getattr(session, "_config", None))
    call = frozen.make_callable(tensors[: len(flat)], feed_list=tensors[len(flat) :])
    return lambda *arrays: tf.nest.pack_sequence_as(fetches, call(*arrays))


def _with_immutable_weights(graph_def: Any) -> Any:
    """The graph, its encoders told that their weights never change where those are constants now."""
    nodes = {node.name: node for node in graph_def.node}

    def is_constant(name: str) -> bool:
        node = nodes[name.split(":")[0]]
        while node.op in _FORWARDING:
            node = nodes[node.input[0].split(":")[0]]
        return node.op == "Const"

    for node in graph_def.node:
        if node.op in _ENCODERS and all(is_constant(name) for name in node.input[2:] if not name.startswith("^")):
            node.attr["weights"].s = b"immutable"
    return graph_def
