"""Replacements around the embeddings: Google's tensors stay, and the encoder gets its input from one op.

Google's embedding_lookup and embedding_postprocessor run as before: they create the variables, and their tensors are what
get_word_embedding_output() and get_embedding_output() hand out. For inference the results carry, as attributes, what they were
made from; transformer_model then makes a FastBertEmbedding op of it, which also leaves out padding. TensorFlow prunes Google's
tensors from every run that does not fetch them.

In 16 bit:
- embedding_lookup gathers from the 16-bit table;
- embedding_postprocessor (token types, positions, LayerNorm) runs Google's code in float32 on casts of its variables, and its
  result is rounded: small tables, better LayerNorm statistics, and no mixed types in Google's code. The op computes the same.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tensorflow.compat.v1 as tf

from tf_fastbert import ops
from tf_fastbert.patching import context, variables
from tf_fastbert.patching.options import Options

# Attributes of tensors, as in patching/mask.py.
_LOOKUP = "_tf_fastbert_lookup"
_MAKE = "_tf_fastbert_make_embedding"


class _Lookup(NamedTuple):
    input_ids: Any  # [B, S]
    table: Any  # [V, H]


def make_embedding_lookup(modeling: types.ModuleType, options: Options) -> Callable[..., Any]:
    """modeling.embedding_lookup, on a 16-bit table where floatx says so, its result tagged with what was looked up."""
    original = modeling.embedding_lookup
    signature = inspect.signature(original)

    @functools.wraps(original)
    def embedding_lookup(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        if options.is_16_bit:
            # Multiplying by one-hot rows is for TPUs and gives the same values, but Google's one-hot rows are float32.
            call.arguments["use_one_hot_embeddings"] = False
            with tf.variable_scope(tf.get_variable_scope(), dtype=tf.as_dtype(options.floatx), auxiliary_name_scope=False):
                output, table = original(*call.args, **call.kwargs)
        else:
            output, table = original(*call.args, **call.kwargs)
        input_ids = call.arguments["input_ids"]
        # A partitioned variable, for one, is no table for the op.
        if isinstance(table, (tf.Variable, tf.Tensor)) and _is_matrix_of_ids(input_ids):
            setattr(output, _LOOKUP, _Lookup(input_ids, table))
        return output, table

    return embedding_lookup


def make_embedding_postprocessor(modeling: types.ModuleType, options: Options) -> Callable[..., Any]:
    """modeling.embedding_postprocessor, in float32 and rounded at the end; tagged, for inference, with how the op does it."""
    original = modeling.embedding_postprocessor
    signature = inspect.signature(original)

    @functools.wraps(original)
    def embedding_postprocessor(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        given = dict(call.arguments)
        lookup = getattr(given["input_tensor"], _LOOKUP, None)
        if options.is_16_bit:
            call.arguments["input_tensor"] = tf.cast(given["input_tensor"], tf.float32)
        with _seen_variables() as seen:
            output = original(*call.args, **call.kwargs)
        if options.is_16_bit:
            output = tf.cast(output, tf.as_dtype(options.floatx))
        if (
            lookup is not None
            and context.is_inference()
            and not given["dropout_prob"]
            and given["use_token_type"]
            and given["use_position_embeddings"]
            and _is_matrix_of_ids(given["token_type_ids"])
        ):
            weights = _weights(given, seen)
            if weights is not None and all(value.dtype.base_dtype == options.floatx for value in weights.values()):
                setattr(output, _MAKE, functools.partial(_make, lookup, given["token_type_ids"], weights))
        return output

    return embedding_postprocessor


def encoder_input(embedding_output: Any, sequence_length: Any) -> Any:
    """What the encoder reads for `embedding_output` [B, S, H]: the op's output, with zeros in rows of padding, if it came from
    embedding_postprocessor; else itself.

    Args:
      sequence_length: see tf_fastbert.ops.fast_bert_embedding.
    """
    make = getattr(embedding_output, _MAKE, None)
    return embedding_output if make is None else make(sequence_length)


def _make(lookup: _Lookup, token_type_ids: Any, weights: dict[str, Any], sequence_length: Any) -> Any:
    return ops.fast_bert_embedding(
        lookup.input_ids, token_type_ids, lookup.table, sequence_length=sequence_length, **weights, name="embeddings"
    )


def _is_matrix_of_ids(ids: Any) -> bool:
    return isinstance(ids, tf.Tensor) and ids.shape.rank == 2 and ids.dtype.base_dtype in (tf.int32, tf.int64)


@contextlib.contextmanager
def _seen_variables() -> Iterator[dict[str, Any]]:
    """Gathers what tf.get_variable gives, by the variables' names; of variables that are handed out as casts, the variables."""
    seen: dict[str, Any] = {}

    def see(getter: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
        value = getter(name, *args, **kwargs)
        seen[name] = variables.stored(value)
        return value

    with tf.variable_scope(tf.get_variable_scope(), custom_getter=see, auxiliary_name_scope=False):
        yield seen


def _weights(given: dict[str, Any], seen: dict[str, Any]) -> dict[str, Any] | None:
    """The variables of embedding_postprocessor; None if they are not what Google's code makes."""
    scope = tf.get_variable_scope().name
    names = {
        "token_type_embeddings": given["token_type_embedding_name"],
        "position_embeddings": given["position_embedding_name"],
        "gamma": "LayerNorm/gamma",
        "beta": "LayerNorm/beta",
    }
    weights = {argument: seen.get(f"{scope}/{name}" if scope else name) for argument, name in names.items()}
    return weights if all(isinstance(value, (tf.Variable, tf.Tensor)) for value in weights.values()) else None
