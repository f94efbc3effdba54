"""EncoderLayers: the list that transformer_model returns with do_return_all_layers=True, made on demand."""

from __future__ import annotations

import collections.abc
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf


class EncoderLayers(collections.abc.Sequence):
    """The outputs [B, S, H] of all layers. The last one is there; the others come from an op that is made when one is asked for.

    BertModel always asks for all layers and mostly uses the last; an op that returns all would write num_layers times as much.
    """

    def __init__(self, num_layers: int, last: Any, make_all: Callable[[], Any]) -> None:
        """
        Args:
          last: the last layer's output.
          make_all: makes a tensor [num_layers, B, S, H]. Called at most once, in the graph and name scope of now.
        """
        self._num_layers = num_layers
        self._last = last
        self._make_all = make_all
        self._all: list[Any] | None = None
        self._graph = None if tf.executing_eagerly() else tf.get_default_graph()
        self._name_scope = None if self._graph is None else self._graph.get_name_scope()
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return self._num_layers

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._num_layers))]
        # Raises IndexError as a list does.
        if range(self._num_layers)[index] == self._num_layers - 1:
            return self._last
        return self.as_list()[index]

    def as_list(self) -> list[Any]:
        """All layers as a list, from one op, which no item shares with self[-1]: fetching some runs the encoder once."""
        with self._lock:
            if self._all is None:
                with self._where_made():
                    self._all = tf.unstack(self._make_all(), num=self._num_layers, axis=0, name="all_layers")
            return list(self._all)

    def cast(self, dtype: Any) -> EncoderLayers:
        """The same layers in another type."""
        with self._where_made():
            last = tf.cast(self._last, dtype)
            return EncoderLayers(self._num_layers, last, lambda: tf.cast(self._make_all(), dtype))

    @contextlib.contextmanager
    def _where_made(self) -> Any:
        if self._graph is None:
            yield
            return
        with self._graph.as_default(), tf.name_scope(self._name_scope + "/" if self._name_scope else None):
            yield
