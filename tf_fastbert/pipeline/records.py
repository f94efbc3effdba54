"""tf.train.Example records of integers, written and read fast.

Google's scripts build each record from protocol buffers' objects, and parse each record by itself. Here a record's bytes are put
together directly, and records are parsed a batch at a time. They hold the same, so that Google's own input functions read them.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_LISTS = ("input_ids", "input_mask", "segment_ids")
# Protocol buffers' tags: field number << 3 | 2 (a length follows).
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"


def make_feature_writer(run_squad: types.ModuleType) -> type:
    """run_squad.FeatureWriter, whose process_feature writes the bytes of a feature without protocol buffers' objects.

    Features of training are left to Google's code.
    """
    original = run_squad.FeatureWriter

    class FeatureWriter(original):
        __doc__ = original.__doc__

        def process_feature(self, feature: Any) -> None:
            """Writes a feature (InputFeatures)."""
            if self.is_training:
                super().process_feature(feature)
                return
            self.num_features += 1
            self._writer.write(
                encode_example(
                    {
                        "input_ids": feature.input_ids,
                        "input_mask": feature.input_mask,
                        "segment_ids": feature.segment_ids,
                        "unique_ids": [feature.unique_id],
                    }
                )
            )

    return FeatureWriter


def make_input_fn_builder(run_squad: types.ModuleType) -> Callable[..., Any]:
    """run_squad.input_fn_builder, which parses a batch at a time unless it trains."""
    return batched_input_fn_builder(run_squad.tf, run_squad.input_fn_builder, ("unique_ids",))


def batched_input_fn_builder(tf: Any, original: Callable[..., Any], scalars: Sequence[str]) -> Callable[..., Any]:
    """An input_fn_builder like `original`, Google's, which parses a batch at a time; for training, `original` itself.

    Args:
      tf: the TensorFlow module that `original` uses.
      scalars: the names in a record that hold one number.
    """

    @functools.wraps(original)
    def input_fn_builder(input_file: Any, seq_length: int, is_training: bool, drop_remainder: bool) -> Any:
        if is_training:
            return original(input_file, seq_length, is_training, drop_remainder)
        columns = {name: tf.FixedLenFeature([seq_length], tf.int64) for name in _LISTS}
        columns.update({name: tf.FixedLenFeature([], tf.int64) for name in scalars})

        def parse(records: Any) -> dict[str, Any]:
            return {name: tf.cast(values, tf.int32) for name, values in tf.parse_example(records, columns).items()}

        def input_fn(params: Mapping[str, Any]) -> Any:
            batches = tf.data.TFRecordDataset(input_file).batch(params["batch_size"], drop_remainder=drop_remainder)
            return batches.map(parse, num_parallel_calls=2).prefetch(4)

        return input_fn

    return input_fn_builder


def encode_example(lists: Mapping[str, Sequence[int]]) -> bytes:
    """A serialized tf.train.Example of lists of integers, none of them negative."""
    features = []
    for name, values in lists.items():
        packed = _packed(values)
        features.append(_before_values(name, len(packed)))
        features.append(packed)
    return _length_delimited(_FIELD_1, b"".join(features))


def _packed(values: Sequence[int]) -> bytes:
    """The varints of the values, one after the other."""
    try:
        packed = bytes(values)
    except ValueError:  # some are above 255
        packed = b""
    # A value below 128 is its own varint.
    return packed if packed.isascii() and len(packed) == len(values) else b"".join(map(_VARINTS.__getitem__, values))


@functools.lru_cache(maxsize=1 << 14)
def _before_values(name: str, size: int) -> bytes:
    """All that comes before the packed values of an entry of Features.feature, whose values take `size` bytes."""
    key = _length_delimited(_FIELD_1, name.encode())
    values = _FIELD_1 + _VARINTS[size]  # Int64List.value
    int64_list = _FIELD_3 + _VARINTS[len(values) + size]  # Feature.int64_list
    feature = _FIELD_2 + _VARINTS[len(int64_list) + len(values) + size]  # the entry's value
    entry = key + feature + int64_list + values
    return _FIELD_1 + _VARINTS[len(entry) + size] + entry


def _length_delimited(tag: bytes, content: bytes) -> bytes:
    return tag + _VARINTS[len(content)] + content


class _Varints(dict[int, bytes]):
    """Numbers of 0 and above -> their varints, made when first asked for."""

    def __missing__(self, value: int) -> bytes:
        if value < 0:
            raise ValueError(f"{value} cannot be written: records hold numbers from 0 up")
        rest, out = value, bytearray()
        while rest > 127:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
        self[value] = bytes(out)
        return self[value]


_VARINTS = _Varints()
