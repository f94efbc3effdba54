"""What the layers share: options and types that are checked, and weights that get values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_fastbert.weights import FLOAT_TYPES

_NO_TRAINING = (
    "{name} is for inference and has no gradient: its weights cannot be trained. To train a head on its output, leave the layer's "
    "trainable at False; to fine-tune BERT itself, use Google's scripts (examples/run_squad_wrap.py) or another BERT, and load "
    "the checkpoint here"
)


_Layer: Any = object  # stands for the layer class of some Keras, which comes behind in the order of bases


class InferenceLayer(_Layer):
    """Stands in front of a Keras layer class. Refuses to be made trainable, and knows its weights' memory.

    Attributes of the class that the file which names the Keras has to set:
      no_autocast: the argument of add_weight that keeps a variable from being cast when it is read.
    """

    no_autocast: dict[str, Any]
    # XLA cannot compile a custom op. Keras 3 compiles what it can, unless a layer says this.
    supports_jit = False

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.pop("trainable", False):
            raise ValueError(_NO_TRAINING.format(name=type(self).__name__))
        super().__init__(trainable=False, **kwargs)
        self.supports_jit = False  # Keras 3's Layer.__init__ sets it to True
        if self.compute_dtype not in FLOAT_TYPES:
            raise ValueError(f"{type(self).__name__}: dtype is {self.compute_dtype}; it must be one of {', '.join(FLOAT_TYPES)}")

    @property
    def trainable(self) -> bool:
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        if value:
            raise ValueError(_NO_TRAINING.format(name=type(self).__name__))

    def _weight(self, name: str, shape: Sequence[int], initializer: str, dtype: str | None = None) -> Any:
        """A variable of the type that the layer computes in, also under a mixed policy: nothing is gained by keeping more."""
        return self.add_weight(
            name=name, shape=shape, dtype=dtype or self.compute_dtype, initializer=initializer, trainable=False, **self.no_autocast
        )

    def load_own_variables(self, store: Any) -> None:
        """Keras's, and then the values are moved to memory of TensorFlow's own."""
        super().load_own_variables({key: _array(store[key]) for key in store.keys()})
        for variable in map(tf_variable, self.weights):
            assign(variable, variable)


def _array(stored: Any) -> np.ndarray:
    """A stored variable. HDF5 does not know bfloat16 and gives its bytes; Keras 3 repairs that, tf_keras does not."""
    array = np.asarray(stored)
    return array.view(tf.bfloat16.as_numpy_dtype) if array.dtype.kind == "V" and array.dtype.itemsize == 2 else array


def tf_variable(variable: Any) -> tf.Variable:
    """The tf.Variable of a Keras 3 variable; tf_keras's are some."""
    return variable if isinstance(variable, tf.Variable) else variable.value


def assign(variable: Any, value: Any) -> None:
    """Assigns a copy: the op looks for changes in memory that NumPy can write to, which costs a pass over all weights on each
    call on a CPU."""
    variable = tf_variable(variable)
    value = value if isinstance(value, tf.Variable) else np.asarray(value).astype(variable.dtype.as_numpy_dtype)
    with tf.device("/CPU:0"):
        value = tf.raw_ops.DeepCopy(x=tf.convert_to_tensor(value))
    variable.assign(value)
