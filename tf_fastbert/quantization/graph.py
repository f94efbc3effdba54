"""Google's encoder in plain TensorFlow ops, with a hook wherever a layer has a quantizer.

The variables, their initializers and the arithmetic are those of modeling.transformer_model, whichever of Google's versions
`modeling` is; layer_norm, dropout and create_initializer are its own. With hooks that do nothing the result is the same.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import tensorflow.compat.v1 as tf

from tf_fastbert.config import check_heads


class LayerHooks(Protocol):
    """What stands at a layer's quantizers. B = batch, S = seq_len, N = heads, H = hidden size, I = inner size."""

    def activation(self, field: str, tensor: Any) -> Any:
        """A field of names.ACTIVATIONS: float32 [B, S, H] or [B, S, I]; softmax_input and softmax_output [B, N, S, S]."""

    def kernel(self, field: str, kernel: Any) -> Any:
        """A field of names.KERNELS: float32 [in, out]."""


class Hooks(Protocol):
    residual: bool  # residual connections carry what activation() made of attention_input and intermediate_input

    def layer(self, index: int) -> LayerHooks:
        """Called in the layer's variable scope, before its variables are created."""


class ActivationHooks:
    """LayerHooks that leave kernels as they are."""

    def __init__(self, index: int, hook: Callable[[tuple[int, str], Any], Any]) -> None:
        """hook: (layer, field) and tensor -> what takes the tensor's place."""
        self._index, self._hook = index, hook

    def activation(self, field: str, tensor: Any) -> Any:
        return self._hook((self._index, field), tensor)

    def kernel(self, field: str, kernel: Any) -> Any:
        return kernel


def encoder_layers(
    modeling: Any,
    hooks: Hooks,
    input_tensor: Any,
    attention_mask: Any,
    *,
    hidden_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    intermediate_size: int,
    intermediate_act_fn: Any,
    hidden_dropout_prob: float | None,
    attention_probs_dropout_prob: float | None,
    initializer_range: float,
) -> list[Any]:
    """The outputs, float32 [B, S, H], of all layers; the arguments of modeling.transformer_model.

    Raises:
      ValueError: from `modeling` and TensorFlow, as Google's own code.
    """
    batch, seq_len, _ = modeling.get_shape_list(input_tensor, expected_rank=3)
    size_per_head = hidden_size // num_attention_heads
    initializer = modeling.create_initializer(initializer_range)
    adder = None if attention_mask is None else (1.0 - tf.expand_dims(tf.cast(attention_mask, tf.float32), 1)) * -10000.0

    def product(hook: LayerHooks, path: str, field: str, x: Any, width: int) -> Any:
        with tf.variable_scope(path):
            kernel = tf.get_variable("kernel", [int(x.shape[-1]), width], initializer=initializer)
            bias = tf.get_variable("bias", [width], initializer=tf.zeros_initializer())
        rows = tf.reshape(x, [-1, int(x.shape[-1])])
        total = tf.matmul(rows, hook.kernel(f"{field}_kernel", kernel))
        total = tf.reshape(total, [batch, seq_len, width])
        return hook.activation(f"{field}_sum", total) + bias

    def heads(x: Any) -> Any:
        return tf.transpose(tf.reshape(x, [batch, seq_len, num_attention_heads, size_per_head]), [0, 2, 1, 3])

    def attention(hook: LayerHooks, x: Any) -> Any:
        query, key, value = (
            heads(hook.activation(field, product(hook, f"self/{field}", field, x, hidden_size)))
            for field in ("query", "key", "value")
        )
        scores = hook.activation("softmax_input", tf.matmul(query, key, transpose_b=True))
        scores = tf.multiply(scores, 1.0 / math.sqrt(float(size_per_head)))
        probabilities = tf.nn.softmax(scores if adder is None else scores + adder)
        probabilities = modeling.dropout(
            hook.activation("softmax_output", probabilities), attention_probs_dropout_prob
        )
        context = tf.transpose(tf.matmul(probabilities, value), [0, 2, 1, 3])
        return tf.reshape(context, [batch, seq_len, hidden_size])

    outputs = []
    layer_input = input_tensor
    for layer in range(num_hidden_layers):
        with tf.variable_scope(f"layer_{layer}"):
            hook = hooks.layer(layer)
            x = hook.activation("attention_input", layer_input)
            with tf.variable_scope("attention"):
                context = hook.activation("context", attention(hook, x))
                with tf.variable_scope("output"):
                    attended = product(hook, "dense", "attention_output", context, hidden_size)
                    attended = modeling.dropout(attended, hidden_dropout_prob)
                    attended = modeling.layer_norm(attended + (x if hooks.residual else layer_input))
            y = hook.activation("intermediate_input", attended)
            inner = product(hook, "intermediate/dense", "intermediate", y, intermediate_size)
            inner = inner if intermediate_act_fn is None else intermediate_act_fn(inner)
            inner = hook.activation("output_input", inner)
            with tf.variable_scope("output"):
                output = product(hook, "dense", "output", inner, hidden_size)
                output = modeling.dropout(output, hidden_dropout_prob)
                layer_input = modeling.layer_norm(output + (y if hooks.residual else attended))
            outputs.append(layer_input)
    return outputs


def make_transformer_model(modeling: Any, hooks: Hooks) -> Callable[..., Any]:
    """A replacement for modeling.transformer_model, with its arguments."""
    original = modeling.transformer_model
    signature = inspect.signature(original)

    @functools.wraps(original)
    def transformer_model(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        arguments = dict(call.arguments)
        all_layers = arguments.pop("do_return_all_layers")
        check_heads(arguments["hidden_size"], arguments["num_attention_heads"])
        outputs = encoder_layers(modeling, hooks, **arguments)
        return outputs if all_layers else outputs[-1]

    return transformer_model


@contextlib.contextmanager
def hooked(modeling: Any, hooks: Hooks) -> Iterator[None]:
    """BertModels that `modeling` builds inside have `hooks` in their encoder."""
    original = modeling.transformer_model
    modeling.transformer_model = make_transformer_model(modeling, hooks)
    try:
        yield
    finally:
        modeling.transformer_model = original
