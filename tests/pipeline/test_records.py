"""Records hold what Google's hold."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.pipeline.google_scripts import run_squad, tf1  # noqa: F401
from tf_fastbert.pipeline import records

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


def test_squad_records(run_squad: Any, tf1: Any, tmp_path: Path) -> None:  # noqa: F811
    write(run_squad.FeatureWriter, tmp_path / "google")
    write(records.make_feature_writer(run_squad), tmp_path / "ours")
    google, ours = (
        [tf1.train.Example.FromString(record) for record in tf1.python_io.tf_record_iterator(str(tmp_path / name))]
        for name in ("google", "ours")
    )
    assert ours == google


def test_training_records_are_googles(run_squad: Any, tf1: Any, tmp_path: Path) -> None:  # noqa: F811
    writer = records.make_feature_writer(run_squad)(str(tmp_path / "train"), is_training=True)
    writer.process_feature(types.SimpleNamespace(**vars(features()[1]), start_position=3, end_position=4, is_impossible=False))
    writer.close()
    record = tf1.train.Example.FromString(next(tf1.python_io.tf_record_iterator(str(tmp_path / "train"))))
    assert record.features.feature["end_positions"].int64_list.value == [4]


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="-1 cannot be written"):
        records.encode_example({"input_ids": [3, -1, 300]})
