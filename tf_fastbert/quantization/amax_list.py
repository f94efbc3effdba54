"""The amaxList of a layer: built, read, checked. No other Python module knows its layout (C++: cc/amax_list).

float32[72 + 5H + I + 8 + 3 + 21], H = hidden size, I = inner size; the ancestor's 72 + 9H + 8 + 3 + 21 when I = 4H:

| floats | content |
|---|---|
| 72 | 15 activations (names.ACTIVATIONS, in that order) and the next layer's attention_input (1 in the last layer), each as
       (amax, amax / 127, amax / 127 / 127, 127 / amax); then 8 zeros |
| 5H + I | amax of the kernels by output channel: query, key, value, attention output (H each), intermediate (I), output (H); per
       tensor, one value repeated |
| 8 | in_amax * other_amax / (127 * out_amax) of the eight products: query, key, value, query * key', probabilities * value,
       attention output, intermediate, output; other_amax is the kernel's largest, or the second activation's |
| 3 | the largest of query, key and value; softmax_output; context |
| 21 | zeros |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_fastbert.quantization import names

_SLOTS = 18  # of four floats: 15 activations, next_input, two unused
_NEXT = "next_input"
_TAIL = 8 + 3 + 21
# (first operand, second operand, result), fields; the result of a product with a kernel is its sum.
_PRODUCTS = (
    ("attention_input", "query_kernel", "query_sum"),
    ("attention_input", "key_kernel", "key_sum"),
    ("attention_input", "value_kernel", "value_sum"),
    ("query", "key", "softmax_input"),
    ("softmax_output", "value", "context"),
    ("context", "attention_output_kernel", "attention_output_sum"),
    ("intermediate_input", "intermediate_kernel", "intermediate_sum"),
    ("output_input", "output_kernel", "output_sum"),
)


@dataclasses.dataclass(frozen=True)
class LayerRanges:
    """What an amaxList says.

    Attributes:
      activations: field of names.ACTIVATIONS -> amax, in float32 precision.
      kernels: field of names.KERNELS -> float32 [out].
      next_input: attention_input of the next layer; 1 in the last.
    """

    activations: dict[str, float]
    kernels: dict[str, np.ndarray]
    next_input: float = 1.0

    @property
    def per_channel(self) -> bool:
        """Whether any kernel has different ranges in its channels: int8_mode 1."""
        return any(np.any(amax != amax[0]) for amax in self.kernels.values())


def size(hidden_size: int, inner_size: int) -> int:
    """Number of floats."""
    return 4 * _SLOTS + 5 * hidden_size + inner_size + _TAIL


def _widths(hidden_size: int, inner_size: int) -> dict[str, int]:
    return {field: inner_size if field == "intermediate_kernel" else hidden_size for field in names.KERNELS}


def build(
    activations: Mapping[str, float],
    kernels: Mapping[str, np.ndarray],
    hidden_size: int,
    inner_size: int,
    next_input: float = 1.0,
) -> np.ndarray:
    """Makes an amaxList, float32 [size(hidden_size, inner_size)].

    Args:
      activations: a positive amax for each field of names.ACTIVATIONS.
      kernels: for each field of names.KERNELS a positive scalar, or one value an output channel.

    Raises:
      ValueError: a range is missing, is not finite and positive, or has a wrong number of channels.
    """
    list_: list[np.ndarray] = []
    amax: dict[str, np.float32] = {}
    for field in (*names.ACTIVATIONS, _NEXT):
        if field != _NEXT and field not in activations:
            raise ValueError(f"the range of {field} is missing")
        single = np.float32(next_input if field == _NEXT else activations[field])
        _check(field, single)
        amax[field] = single
        top = np.float32(127)
        list_.append(np.array([single, single / top, single / top / top, top / single]))
    list_.append(np.zeros(4 * _SLOTS - 4 * len(amax)))
    for field, width in _widths(hidden_size, inner_size).items():
        if field not in kernels:
            raise ValueError(f"the range of {field} is missing")
        value = np.asarray(kernels[field], np.float32)
        if value.shape not in ((), (width,)):
            raise ValueError(f"the range of {field} has shape {list(value.shape)}, expected [] or [{width}]")
        _check(field, value)
        amax[field] = value.max()
        list_.append(np.broadcast_to(value, (width,)))
    list_.append(np.array([amax[a] * amax[b] / (np.float32(127) * amax[out]) for a, b, out in _PRODUCTS]))
    list_.append(np.array([max(amax["query"], amax["key"], amax["value"]), amax["softmax_output"], amax["context"]]))
    list_.append(np.zeros(21))
    return np.concatenate(list_).astype(np.float32)


def parse(values: np.ndarray, hidden_size: int, inner_size: int) -> LayerRanges:
    """Reads an amaxList.

    Raises:
      ValueError: its length is wrong, or a range is not finite and positive.
    """
    values = np.asarray(values)
    expected = size(hidden_size, inner_size)
    if values.shape != (expected,):
        raise ValueError(
            f"an amaxList has shape {list(values.shape)}, expected [{expected}] with hidden size {hidden_size} and inner size "
            f"{inner_size}"
        )
    values = values.astype(np.float32)
    amax = dict(zip((*names.ACTIVATIONS, _NEXT), values[: 4 * _SLOTS : 4]))
    kernels, start = {}, 4 * _SLOTS
    for field, width in _widths(hidden_size, inner_size).items():
        kernels[field] = values[start : start + width]
        start += width
    for field, value in (*amax.items(), *kernels.items()):
        _check(field, value)
    next_input = float(amax.pop(_NEXT))
    return LayerRanges({field: float(value) for field, value in amax.items()}, kernels, next_input)


def first_kernel(values: np.ndarray, hidden_size: int) -> np.ndarray:
    """The part [H] of an amaxList, of ours or the ancestor's, that belongs to the query kernel."""
    return values[4 * _SLOTS : 4 * _SLOTS + hidden_size]


def _check(field: str, amax: Any) -> None:
    bad = np.atleast_1d(~(np.isfinite(amax) & (amax > 0)))
    if bad.any():
        channel = int(np.argmax(bad))
        where = f" of channel {channel}" if np.ndim(amax) else ""
        raise ValueError(f"the range{where} of {field} is {np.atleast_1d(amax)[channel]:g}: it must be a positive number")
