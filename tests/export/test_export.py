"""Exported SavedModels give what Google's graph and the wrappers' graph give, at any batch and length."""

from __future__ import annotations

import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.export.models import KINDS, batch, checkpoint, export_tiny, google, write_checkpoints
from tests.pipeline.google_scripts import run_classifier, run_squad, tf1  # noqa: F401 (fixtures)
from tf_fastbert import export


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_checkpoints(folder)
    return folder


def signature(path: Path, name: str = "serving_default") -> Any:
    loaded = tf.saved_model.load(str(path))
    function = loaded.signatures[name]
    function.keep = loaded  # a signature lives as long as what it comes from
    return lambda inputs: {k: v.numpy() for k, v in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()}


def check_squad(outputs: dict[str, np.ndarray], want: list[np.ndarray], mask: np.ndarray, tolerance: float) -> None:
    assert sorted(outputs) == ["end_logits", "start_logits"]
    for got, expected in zip((outputs["start_logits"], outputs["end_logits"]), want):
        assert got.dtype == np.float32 and got.shape == mask.shape
        np.testing.assert_allclose(got[mask > 0], expected[mask > 0], rtol=tolerance, atol=tolerance)
        assert (got[mask == 0] == -10000).all()


def test_squad_is_googles_graph(tf1: Any, run_squad: types.ModuleType, folder: Path, tmp_path: Path) -> None:  # noqa: F811
    export_tiny(folder, tmp_path / "model")
    call = signature(tmp_path / "model")
    for lengths in ((11, 5, 1, 8), (3,), (40, 64)):
        inputs = batch(lengths)
        want = google(tf1, run_squad, folder, checkpoint(folder, "float32"), inputs)
        check_squad(call(inputs), want, inputs["input_mask"], 1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_squad_is_the_wrappers_graph(
    tf1: Any, run_squad: types.ModuleType, folder: Path, tmp_path: Path, kind: str  # noqa: F811
) -> None:
    report = export_tiny(folder, tmp_path / "model", kind)
    assert report.weights == "constants"
    inputs = batch()
    want = google(tf1, run_squad, folder, checkpoint(folder, kind), inputs, KINDS[kind])
    # The same ops on the same numbers; only the heads' products may be ordered otherwise.
    check_squad(signature(tmp_path / "model")(inputs), want, inputs["input_mask"], 1e-5)


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_classifier(
    tf1: Any, run_classifier: types.ModuleType, folder: Path, tmp_path: Path, kind: str  # noqa: F811
) -> None:
    export_tiny(folder, tmp_path / "model", kind, task="classifier", labels=["no", "yes"])
    assert export.read_settings(str(tmp_path / "model")).label_names() == ["no", "yes"]
    inputs = batch()
    got = signature(tmp_path / "model")(inputs)
    stock = google(tf1, run_classifier, folder, checkpoint(folder, "float32"), inputs)
    wrapper = google(tf1, run_classifier, folder, checkpoint(folder, kind), inputs, KINDS[kind])
    # Google's pooler runs in 16 bit under the patch; here it is float32 as the rest of the head.
    np.testing.assert_allclose(got["probabilities"], wrapper[0], atol=1e-6 if kind == "float32" else 5e-3)
    np.testing.assert_allclose(got["probabilities"], stock[0], atol=1e-4 if kind == "float32" else 0.1)
    np.testing.assert_allclose(tf.nn.softmax(got["logits"]), got["probabilities"], rtol=1e-5)


def test_encoder_with_and_without_a_pooler(
    tf1: Any, run_squad: types.ModuleType, folder: Path, tmp_path: Path  # noqa: F811
) -> None:
    inputs = batch()
    modeling = run_squad.modeling
    with tf1.Graph().as_default(), tf1.Session() as session:
        config = modeling.BertConfig.from_json_file(str(folder / "bert_config.json"))
        ids, mask, segments = (tf1.constant(value) for value in inputs.values())
        model = modeling.BertModel(config, False, ids, mask, segments)
        tf1.train.Saver(tf1.global_variables()).restore(session, checkpoint(folder, "float32"))
        sequence, pooled = session.run([model.get_sequence_output(), model.get_pooled_output()])
    export_tiny(folder, tmp_path / "with", task="encoder")
    outputs = signature(tmp_path / "with")(inputs)
    valid = inputs["input_mask"] > 0
    np.testing.assert_allclose(outputs["sequence_output"][valid], sequence[valid], atol=1e-4)
    np.testing.assert_allclose(outputs["pooled_output"], pooled, atol=1e-4)
    assert not outputs["sequence_output"][~valid].any()

    from tests.quantization.tiny_quantized import tensors
    from tf_fastbert.checkpoint import write_checkpoint

    values = tensors(checkpoint(folder, "float32"))
    write_checkpoint(str(tmp_path / "bert_model.ckpt"), {n: v for n, v in values.items() if "pooler" not in n})
    for name in ("bert_config.json", "vocab.txt"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    export_tiny(tmp_path, tmp_path / "without", task="encoder")
    without = signature(tmp_path / "without")(inputs)
    assert list(without) == ["sequence_output"]
    np.testing.assert_array_equal(without["sequence_output"], outputs["sequence_output"])


def test_floatx_converts(folder: Path, tmp_path: Path) -> None:
    export_tiny(folder, tmp_path / "a", floatx="float16")
    export_tiny(folder, tmp_path / "b", "float16")
    assert export.read_settings(str(tmp_path / "a")).floatx == "float16"
    inputs = batch()
    for name, value in signature(tmp_path / "a")(inputs).items():
        np.testing.assert_array_equal(value, signature(tmp_path / "b")(inputs)[name])


def test_weights_as_variables(folder: Path, tmp_path: Path) -> None:
    export_tiny(folder, tmp_path / "constants", "int8_1")
    report = export_tiny(folder, tmp_path / "variables", "int8_1", weights="variables")
    assert report.weights == "variables"
    sizes = [(tmp_path / name / "saved_model.pb").stat().st_size for name in ("constants", "variables")]
    # Once in the graph, and not twice: the SavedModel has no second copy of the function.
    assert report.weight_bytes < sizes[0] < 2 * report.weight_bytes
    inputs = batch()
    want = signature(tmp_path / "constants")(inputs)
    for name, value in signature(tmp_path / "variables")(inputs).items():
        np.testing.assert_array_equal(value, want[name])


def test_threads(folder: Path, tmp_path: Path) -> None:
    export_tiny(folder, tmp_path / "model")
    call = signature(tmp_path / "model")
    batches = [batch(tuple(range(1, 2 + i % 7)), seed=i) for i in range(40)]
    want = [call(inputs) for inputs in batches]
    with ThreadPoolExecutor(8) as pool:
        for got, expected in zip(pool.map(call, batches), want):
            for name, value in got.items():
                np.testing.assert_array_equal(value, expected[name])


def test_bad_input_is_an_error(folder: Path, tmp_path: Path) -> None:
    export_tiny(folder, tmp_path / "model")
    call = signature(tmp_path / "model")
    inputs = batch()
    with pytest.raises(tf.errors.InvalidArgumentError):
        call({**inputs, "input_ids": inputs["input_ids"] + 1000})
    with pytest.raises(tf.errors.InvalidArgumentError):
        call({**inputs, "input_mask": inputs["input_mask"][:, 1:]})
    assert call(inputs)["start_logits"].shape == inputs["input_ids"].shape
