"""Records hold what Google's hold, and both input functions read both."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import run_classifier, run_squad, tf1  # noqa: F401
from tf_fastbert.pipeline import classifier, records

LENGTH = 7


def features(count: int = 11) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        types.SimpleNamespace(
            unique_id=1000000000 + i,
            input_ids=rng.integers(0, [2, 128, 129, 256, 30522, 1 << 20, 1 << 31][i % 7], LENGTH).tolist(),
            input_mask=[1] * (i % LENGTH) + [0] * (LENGTH - i % LENGTH),
            segment_ids=[i % 2] * LENGTH,
        )
        for i in range(count)
    ]


def write(writer_class: type, path: Path) -> None:
    writer = writer_class(str(path), is_training=False)
    for feature in features():
        writer.process_feature(feature)
    writer.close()
    assert writer.num_features == 11


def read(tf: Any, input_fn: Any) -> list[dict[str, np.ndarray]]:
    with tf.Graph().as_default(), tf.Session() as session:
        batch = tf.data.make_one_shot_iterator(input_fn({"batch_size": 4})).get_next()
        assert all(tensor.dtype == tf.int32 for tensor in batch.values())
        batches = []
        while True:
            try:
                batches.append(session.run(batch))
            except tf.errors.OutOfRangeError:
                return batches


def same(ours: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> None:
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_squad_records(run_squad: Any, tf1: Any, tmp_path: Path, drop_remainder: bool) -> None:  # noqa: F811
    write(run_squad.FeatureWriter, tmp_path / "google")
    write(records.make_feature_writer(run_squad), tmp_path / "ours")
    google, ours = (
        list(map(tf1.train.Example.FromString, tf1.python_io.tf_record_iterator(str(tmp_path / name)))) for name in ("google", "ours")
    )
    assert ours == google
    build = records.make_input_fn_builder(run_squad)
    same(
        read(tf1, build(str(tmp_path / "google"), LENGTH, False, drop_remainder)),
        read(tf1, run_squad.input_fn_builder(str(tmp_path / "ours"), LENGTH, False, drop_remainder)),
    )


def test_training_records_are_googles(run_squad: Any, tf1: Any, tmp_path: Path) -> None:  # noqa: F811
    writer = records.make_feature_writer(run_squad)(str(tmp_path / "train"), is_training=True)
    writer.process_feature(types.SimpleNamespace(**vars(features()[1]), start_position=3, end_position=4, is_impossible=False))
    writer.close()
    record = tf1.train.Example.FromString(next(tf1.python_io.tf_record_iterator(str(tmp_path / "train"))))
    assert record.features.feature["end_positions"].int64_list.value == [4]
    build = records.make_input_fn_builder(run_squad)
    assert build("file", LENGTH, True, False).__qualname__ == run_squad.input_fn_builder("file", LENGTH, True, False).__qualname__


def test_classifier_records(run_classifier: Any, tf1: Any, tmp_path: Path) -> None:  # noqa: F811
    with tf1.python_io.TFRecordWriter(str(tmp_path / "records")) as writer:
        for feature in features():
            lists = {name: getattr(feature, name) for name in ("input_ids", "input_mask", "segment_ids")}
            writer.write(records.encode_example({**lists, "label_ids": [1], "is_real_example": [1]}))
    arguments = (str(tmp_path / "records"), LENGTH, False, False)
    same(
        read(tf1, classifier.make_input_fn_builder(run_classifier)(*arguments)),
        read(tf1, run_classifier.file_based_input_fn_builder(*arguments)),
    )


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 cannot be written"):
        records.encode_example({"input_ids": [3, -1, 300]})
