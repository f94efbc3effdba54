"""Fake quantization: values rounded to what int8 or E4M3 can represent, still in float32, with straight-through gradients.

Inside its range a quantizer's gradient is 1, outside 0. The ranges are variables under the ancestor's names; they are not
trained: Google's optimizer moves every variable by about the learning rate a step, which is nothing for an activation's range of
10 and a tenth of a kernel's of 0.03, and it would decay them as weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf
from tensorflow.dtypes.experimental import float8_e4m3fn

from tf_fastbert.quantization import names
from tf_fastbert.quantization.modes import Mode

E4M3_MAX = 448.0


def fake_quantize(x: Any, amax: Any, *, fp8: bool = False) -> Any:
    """x rounded to the 255 multiples of amax / 127 from -amax to amax, or to E4M3 numbers of which 448 stands for amax.

    Bit for bit what the kernels represent: ties go to even. (TensorFlow's own op for this computes from the lower end of the range,
    and rounds one value in 100,000 to the other neighbour. That is enough to be seen at the next quantizer.)

    Args:
      x: float32, any shape.
      amax: float32, a scalar, or one value for each index of x's last dimension.
    """
    return (_e4m3 if fp8 else _int8)(x, amax)


def fake_quantize_kernel(kernel: Any, amax: Any, *, fp8: bool = False) -> Any:
    """fake_quantize for a kernel [in, out]: ties go away from zero, as in convert.quantize_kernel."""
    return (_e4m3 if fp8 else _int8_away)(kernel, amax)


def _straight_through(rounded: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`rounded` with the gradient of a clamp to [-amax, amax] with respect to x, and none with respect to amax."""

    @tf.custom_gradient
    def function(x: Any, amax: Any) -> Any:
        return rounded(x, amax), lambda dy: (tf.where_v2(tf.abs(x) <= amax, dy, 0.0), None)

    return function


@_straight_through
def _int8(x: Any, amax: Any) -> Any:
    return tf.clip_by_value(tf.round(x * (127.0 / amax)), -127.0, 127.0) * (amax / 127.0)


@_straight_through
def _int8_away(x: Any, amax: Any) -> Any:
    steps = tf.floor(tf.abs(x) * (127.0 / amax) + 0.5)
    return tf.sign(x) * tf.minimum(steps, 127.0) * (amax / 127.0)


@_straight_through
def _e4m3(x: Any, amax: Any) -> Any:
    # What the hardware does on conversion: clamps, then rounds to the nearest, ties to even.
    scale = E4M3_MAX / amax
    return tf.cast(tf.cast(tf.clip_by_value(x, -amax, amax) * scale, float8_e4m3fn), tf.float32) / scale


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
        return fake_quantize_kernel(kernel, self._variables(names.KERNELS[field], shape), fp8=self._mode.fp8)

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
