"""Fake quantization: values rounded to what int8 or E4M3 can represent, still in float32, with straight-through gradients.

Inside its range a quantizer's gradient is 1, outside 0. The ranges are variables under the ancestor's names; they are not
trained: Google's optimizer moves every variable by about the learning rate a step, which is nothing for an activation's range of
10 and a tenth of a kernel's of 0.03, and it would decay them as weights.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.dtypes.experimental import float8_e4m3fn

from tf_fastbert.quantization import names
from tf_fastbert.quantization.modes import Mode

E4M3_MAX = 448.0


def fake_quantize(x: Any, amax: Any, *, fp8: bool = False) -> Any:
    """x rounded to the 255 multiples of amax / 127 from -amax to amax, or to E4M3 numbers of which 448 stands for amax.

    Args:
      x: float32, any shape.
      amax: float32, a scalar, or one value for each index of x's last dimension (int8 only).
    """
    if fp8:
        # What the hardware does on conversion: clamps, then rounds to the nearest, ties to even.
        scale = E4M3_MAX / amax
        clamped = tf.clip_by_value(x, -amax, amax)
        rounded = tf.cast(tf.cast(clamped * scale, float8_e4m3fn), tf.float32) / scale
        return clamped + tf.stop_gradient(rounded - clamped)
    # narrow_range: 255 levels, symmetric. TensorFlow's op has the straight-through gradient.
    ops = tf.quantization
    op = ops.fake_quant_with_min_max_vars_per_channel if amax.shape.rank else ops.fake_quant_with_min_max_vars
    return op(x, -amax, amax, num_bits=8, narrow_range=True)


class FakeQuantizer:
    """Hooks (see graph.py) that fake-quantize by a Mode, with the ranges as variables of the graph.

    All quantizers have variables, those that are off too, so that a checkpoint that is saved has every range.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.residual = mode.residual

    def layer(self, index: int) -> _LayerQuantizer:
        return _LayerQuantizer(self.mode)


class _LayerQuantizer:
    """The quantizers of the layer in whose variable scope it is made."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._scope = tf.get_variable_scope()
        self._amax = {field: self._variables(path, []) for field, path in names.ACTIVATIONS.items()}

    def activation(self, field: str, tensor: Any) -> Any:
        return fake_quantize(tensor, self._amax[field], fp8=self._mode.fp8) if field in self._mode.on else tensor

    def kernel(self, field: str, kernel: Any) -> Any:
        shape = [] if self._mode.fp8 else [int(kernel.shape[-1])]
        return fake_quantize(kernel, self._variables(names.KERNELS[field], shape), fp8=self._mode.fp8)

    def _variables(self, path: str, shape: list[int]) -> Any:
        """amax of a quantizer, from its two variables, which this creates."""
        with tf.variable_scope(self._scope, auxiliary_name_scope=False):
            high, low = (
                tf.get_variable(
                    f"{path}/{name}", shape, tf.float32, initializer=tf.constant_initializer(start), trainable=False
                )
                for name, start in ((names.MAX, 1.0), (names.MIN, -1.0))
            )
        return tf.maximum(tf.abs(high), tf.abs(low))
