"""The progress bar, the times, and what is written about them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed").compat.v1

from tf_fastbert.wrap import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FakeEstimator:
    """Runs its hooks as an Estimator's session does: batches of 4, 4 and 1 out of an input pipeline."""

    def _loop(self, hooks):
        with tf.Graph().as_default():
            batch = tf.data.make_one_shot_iterator(tf.data.Dataset.range(9).batch(4)).get_next()
            with tf.train.SingularMonitoredSession(hooks) as session:
                while not session.should_stop():
                    yield from session.run(batch)

    def predict(self, input_fn, predict_keys=None, hooks=None):
        return self._loop(hooks)

    def evaluate(self, input_fn, steps=None, hooks=None):
        return {"count": len(list(self._loop(hooks)))}


def test_watched_counts_every_example(capsys: pytest.CaptureFixture) -> None:
    originals = FakeEstimator.predict, FakeEstimator.evaluate
    with progress.watched(FakeEstimator, lambda name: 9, show=True) as loops:
        assert list(FakeEstimator().predict(None)) == list(range(9))
        assert FakeEstimator().evaluate(None, hooks=[]) == {"count": 9}
    assert (FakeEstimator.predict, FakeEstimator.evaluate) == originals
    for loop, name in zip(loops, ("predict", "evaluate"), strict=True):
        assert (loop.name, loop.examples, loop.first_batch_examples) == (name, 9, 4)
        assert loop.seconds > 0 and loop.first_batch_seconds > 0
        assert loop.examples_per_second == pytest.approx(5 / loop.seconds)
        assert "9 examples" in loop.line()


def test_watched_gives_the_methods_back_after_an_error() -> None:
    original = FakeEstimator.evaluate
    with pytest.raises(TypeError), progress.watched(FakeEstimator, lambda name: None, show=False):
        FakeEstimator().evaluate()
    assert FakeEstimator.evaluate is original


def test_bar_on_a_terminal_and_in_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    bar = progress.Bar("predict", 10, terminal)
    bar.add(10)
    bar.close()
    assert "10/10" in terminal.getvalue()

    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    log = io.StringIO()
    bar = progress.Bar("predict", 100, log)
    for _ in range(10):
        now[0] += 4
        bar.add(8)
    bar.close()
    assert log.getvalue().splitlines() == [
        "predict: 32 of 100 examples, 2.0/s, 34 s left",
        "predict: 64 of 100 examples, 2.0/s, 18 s left",
    ]


def test_count_records(tmp_path: Path) -> None:
    path = tmp_path / "eval.tf_record"
    with tf.python_io.TFRecordWriter(str(path)) as writer:
        for size in (0, 1, 1000):
            writer.write(b"x" * size)
    assert progress.count_records(str(path)) == 3
    path.write_bytes(path.read_bytes()[:-1])
    assert progress.count_records(str(path)) is None
    assert progress.count_records(str(tmp_path / "none")) is None


def test_write_timing(tmp_path: Path) -> None:
    loops = [
        progress.Loop("evaluate", examples=20, first_batch_examples=8, first_batch_seconds=2.0, seconds=3.0),
        progress.Loop("predict", examples=10, first_batch_examples=8, first_batch_seconds=1.0, seconds=1.0),
    ]
    timing = progress.write_timing(
        str(tmp_path / "timing.json"), "fastbert", loops, {"floatx": "float16", "remove_padding": True}
    )
    assert json.loads((tmp_path / "timing.json").read_text()) == timing
    assert {key: timing[key] for key in ("mode", "examples", "seconds", "examples_per_second", "floatx", "remove_padding")} == {
        "mode": "fastbert",
        "examples": 30,
        "seconds": 4.0,
        "examples_per_second": 3.5,
        "floatx": "float16",
        "remove_padding": True,
    }
    assert [loop["examples_per_second"] for loop in timing["loops"]] == [4.0, 2.0]
    assert [file.name for file in tmp_path.iterdir()] == ["timing.json"]


def test_one_batch_is_all_there_is() -> None:
    assert progress.Loop("predict", examples=4, first_batch_examples=4, first_batch_seconds=2.0).examples_per_second == 2.0
    assert progress.Loop("predict").examples_per_second == 0.0
