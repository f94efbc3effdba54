"""A teacher beside the model in Google's training graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tf_fastbert
from tests.google_bert import IDS, PREFIX_MASK, bert_config, import_script, modeling, random_values, tf1  # noqa: F401
from tf_fastbert.checkpoint import CheckpointError, write_checkpoint
from tf_fastbert.quantization import distillation


def test_divergence(tf1: Any) -> None:  # noqa: F811
    rng = np.random.default_rng(0)
    target, logits = rng.standard_normal((2, 3, 5)).astype(np.float32)
    with tf1.Graph().as_default(), tf1.Session() as session:
        values = session.run([distillation.divergence(tf1.constant(target), tf1.constant(x)) for x in (logits, target + 7)])
    p, q = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (target, logits))
    np.testing.assert_allclose(values, [(p * np.log(p / q)).sum(1).mean(), 0.0], atol=1e-6)


def test_teacher(tf1: Any, modeling: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    script = import_script("run_squad", monkeypatch, tf1)
    functions = script.create_model, script.optimization.create_optimizer
    config = bert_config(modeling, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

    def create(training: bool) -> tuple[Any, Any]:
        ids, mask, segments = (tf1.constant(x, tf1.int32) for x in (IDS, PREFIX_MASK, IDS % 2))
        return script.create_model(config, training, ids, mask, segments, False)

    with tf1.Graph().as_default():
        create(False)
        values = random_values(tf1, tf1.trainable_variables())
    teacher = str(tmp_path / "teacher.ckpt")
    write_checkpoint(teacher, values)
    with tf1.Graph().as_default(), tf_fastbert.patched(modeling, quant_mode="ft1", run_squad=script):
        with distillation.distilled(script, teacher, 100.0):
            create(False)
            assert not tf1.local_variables()  # answering has no teacher
    with tf1.Graph().as_default(), tf1.Session() as session, tf_fastbert.patched(modeling, quant_mode="ft1", run_squad=script):
        with distillation.distilled(script, teacher, 100.0):
            start, _ = create(True)
            trained = {v.op.name for v in tf1.trainable_variables()}
            assert trained == values.keys()
            assert {v.op.name for v in tf1.local_variables()} == {f"teacher/{name}" for name in values}
            assert not any(v.op.name.startswith("teacher") for v in tf1.global_variables())
            loss = tf1.reduce_mean(start)
            script.optimization.create_optimizer(loss, 1e-3, 10, 0, False)
        session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
        for variable in tf1.local_variables():
            np.testing.assert_array_equal(session.run(variable), values[variable.op.name.removeprefix("teacher/")])
        terms = session.run(tf1.get_collection(distillation._LOSSES))
        assert len(terms) == 2 and all(np.isfinite(term) and term > 0 for term in terms)
    assert (script.create_model, script.optimization.create_optimizer) == functions
    del values["cls/squad/output_bias"]
    write_checkpoint(teacher, values)
    with tf1.Graph().as_default(), distillation.distilled(script, teacher, 1.0):
        with pytest.raises(CheckpointError, match="the teacher .* has no variable cls/squad/output_bias"):
            create(True)
