"""docs/profiling.md: a trace of TensorFlow's profiler has the ops under their names, with a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from tests.layers import models
from tests.layers.models import CONFIG

pytest.importorskip("keras", minversion="3")
xplane_pb2 = pytest.importorskip("tensorflow.tsl.profiler.protobuf.xplane_pb2", reason="this TensorFlow keeps it elsewhere")


def test_the_ops_are_in_a_trace(tmp_path: Path) -> None:
    from tf_fastbert.keras import Bert

    bert = Bert.from_checkpoint(models.write(tmp_path, CONFIG))
    run = tf.function(lambda ids: bert(ids)["sequence_output"])
    ids = tf.ones([2, 5], tf.int32)
    run(ids)
    with tf.profiler.experimental.Profile(str(tmp_path / "logs")):
        for step in range(2):
            with tf.profiler.experimental.Trace("step", step_num=step, _r=1):
                run(ids).numpy()
    (path,) = (tmp_path / "logs").glob("plugins/profile/*/*.xplane.pb")
    space = xplane_pb2.XSpace()
    space.ParseFromString(path.read_bytes())
    picoseconds: dict[str, int] = {}
    for plane in space.planes:
        names = {key: metadata.name for key, metadata in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name = names[event.metadata_id]
                picoseconds[name] = picoseconds.get(name, 0) + event.duration_ps
    for op in ("FastBertEmbedding", "FastBertEncoder"):
        assert sum(time for name, time in picoseconds.items() if name.endswith(f":{op}")) > 0, op
    assert picoseconds["step"] > 0
