"""tf.train.Example records of integers, written fast.

Google's scripts build each record from protocol buffers' objects; here its bytes are put together directly. It holds the same.
Google's own input functions read the records: that is C++, on all cores beside the model, and nothing was to be won there.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

# Protocol buffers' tags: field number << 3 | 2 (a length follows).
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"


def make_feature_writer(run_squad: types.ModuleType) -> type:
    """run_squad.FeatureWriter, whose process_feature writes the bytes of a feature without protocol buffers' objects.

    Features of training are left to Google's code.
    """
    original = run_squad.FeatureWriter

    class FeatureWriter(original):  # type: ignore[misc, valid-type]
        __doc__ = original.__doc__

        def process_feature(self, feature: Any) -> None:
            """Writes a feature (InputFeatures)."""
            if self.is_training:
                super().process_feature(feature)
                return
            self.num_features += 1
            # A feature that was made ahead brings the long lists encoded.
            inputs = getattr(feature, "encoded_inputs", None) or encode_inputs(feature)
            self._writer.write(_length_delimited(_FIELD_1, inputs + _encode_lists({"unique_ids": [feature.unique_id]})))

    return FeatureWriter


def encode_inputs(feature: Any) -> bytes:
    """What the record of a feature (InputFeatures) holds but for its number; the number's bytes come behind."""
    return _encode_lists(
        {"input_ids": feature.input_ids, "input_mask": feature.input_mask, "segment_ids": feature.segment_ids}
    )


def encode_example(lists: Mapping[str, Sequence[int]]) -> bytes:
    """A serialized tf.train.Example of lists of integers, none of them negative."""
    return _length_delimited(_FIELD_1, _encode_lists(lists))


def _encode_lists(lists: Mapping[str, Sequence[int]]) -> bytes:
    """The entries of Features.feature."""
    features = []
    for name, values in lists.items():
        packed = _packed(values)
        features.append(_before_values(name, len(packed)))
        features.append(packed)
    return b"".join(features)


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
