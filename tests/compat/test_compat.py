"""Google's scripts, unchanged, through tf_fastbert.compat: each in a process of its own, as install() is for a whole process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.google_bert import as_google_research
from tests.wrap import tiny_model


def run_python(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, [str(tiny_model.REPO), os.environ.get("PYTHONPATH", "")]))
    env = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=env, cwd="/", capture_output=True, text=True, timeout=300, check=False
    )


def run_code(code: str, **environment: str) -> str:
    result = run_python("-c", code, **environment)
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout


@pytest.fixture
def classifier_arguments(tmp_path: Path) -> list[str]:
    tiny_model.write_model(tmp_path)
    tiny_model.write_mrpc(tmp_path)
    return [
        "--task_name=MRPC", f"--data_dir={tmp_path}", f"--vocab_file={tmp_path}/vocab.txt",
        f"--bert_config_file={tmp_path}/bert_config.json", f"--output_dir={tmp_path}/out", "--max_seq_length=16",
        "--train_batch_size=2", "--eval_batch_size=4", "--predict_batch_size=4", "--num_train_epochs=1",
        "--save_checkpoints_steps=2", "--do_train=true", "--do_eval=true", "--do_predict=true",
    ]  # fmt: skip


def check_classifier_results(output: Path) -> None:
    results = dict(line.split(" = ") for line in (output / "eval_results.txt").read_text().splitlines())
    assert int(results["global_step"]) == 3
    # Seven examples in batches of four: the last, partial one counts.
    assert float(results["eval_accuracy"]) * 7 == pytest.approx(round(float(results["eval_accuracy"]) * 7), abs=1e-4)
    rows = [list(map(float, line.split("\t"))) for line in (output / "test_results.tsv").read_text().splitlines()]
    assert len(rows) == 5
    assert all(sum(row) == pytest.approx(1, abs=1e-5) for row in rows)
    assert (output / "model.ckpt-3.index").exists()


def test_run_classifier_trains_evaluates_and_predicts(classifier_arguments: list[str], tmp_path: Path) -> None:
    result = run_python("-m", "tf_fastbert.compat", "bert.run_classifier", *classifier_arguments)
    assert result.returncode == 0, result.stderr[-4000:]
    check_classifier_results(tmp_path / "out")


def test_a_copy_of_google_research_bert_runs_by_path(classifier_arguments: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("modeling", "optimization", "tokenization", "run_classifier"):
        (copy / f"{name}.py").write_text(as_google_research(name))
    assert "import tensorflow as tf" in (copy / "run_classifier.py").read_text()
    result = run_python("-m", "tf_fastbert.compat", copy / "run_classifier.py", *classifier_arguments)
    assert result.returncode == 0, result.stderr[-4000:]
    check_classifier_results(tmp_path / "out")
    assert not list(copy.glob("__pycache__/*")), "changed modules must not leave byte code for Python to find later"


def test_install_twice_changes_nothing() -> None:
    out = run_code("""
import sys, tf_fastbert.compat as compat
compat.install()
import tensorflow.compat.v1 as tf
before = (tf.estimator, tf.contrib, list(sys.meta_path))
compat.install()
assert before == (tf.estimator, tf.contrib, list(sys.meta_path))
from bert import run_squad
print(run_squad.tf.estimator.tpu.TPUEstimator.__name__)
""")
    assert out.split() == ["TPUEstimator"]


@pytest.mark.parametrize("package", ["tf_keras", "tensorflow_estimator"])
def test_a_missing_package_is_named(package: str) -> None:
    import tensorflow as tf

    if tuple(map(int, tf.__version__.split(".")[:2])) < (2, 16):
        pytest.skip("this TensorFlow has both built in")
    out = run_code(f"""
import importlib.util as util, tf_fastbert.compat as compat
real = util.find_spec
util.find_spec = lambda name, package=None: None if name == {package!r} else real(name, package)
try:
    compat.install()
except ImportError as error:
    print(error)
""")
    assert "pip install --no-deps" in out and package.replace("_", "-") in out.replace("_", "-")


def test_keras_3_loaded_before_is_refused() -> None:
    out = run_code("""
import tensorflow.compat.v1 as tf, tf_fastbert.compat as compat
try:
    tf.layers.dense
    print("skip")
except AttributeError:
    try:
        compat.install()
    except RuntimeError as error:
        print(error)
""")
    if out.split() == ["skip"]:
        pytest.skip("tf.layers needs no Keras 3 in this TensorFlow")
    assert "before tf_fastbert.compat.install()" in out


def test_a_google_module_imported_before_is_refused(tmp_path: Path) -> None:
    (tmp_path / "modeling.py").write_text(
        "import tensorflow as tf\ndef layer_norm(x):\n  return tf.contrib.layers.layer_norm(x)\n"
    )
    out = run_code(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import modeling, tf_fastbert.compat as compat
try:
    compat.install()
except RuntimeError as error:
    print(error)
""")
    assert "before these are imported: modeling" in out


def test_modules_of_others_with_the_same_name_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "optimization.py").write_text("import tensorflow as tf\n")
    out = run_code(f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import tensorflow as tf, tf_fastbert.compat as compat
compat.install()
import optimization
print(optimization.tf is tf)
""")
    assert out.split() == ["True"]


def test_what_contrib_lacks_is_named() -> None:
    out = run_code("""
import tf_fastbert.compat as compat
compat.install()
import tensorflow.compat.v1 as tf
try:
    tf.contrib.layers.fully_connected
except AttributeError as error:
    print(error)
""")
    assert "tensorflow.contrib.layers.fully_connected" in out and "layer_norm" in out


LAYER_NORM = """
import numpy as np, tf_fastbert.compat as compat
compat.install()
import tensorflow.compat.v1 as tf
from tensorflow.contrib import layers
x = np.random.RandomState(0).normal(3, 40, (2, 5, 64))
want = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
for dtype, limit in ((tf.float32, 1e-5), (tf.float16, 5e-3), (tf.bfloat16, 3e-2)):
    with tf.Graph().as_default(), tf.Session() as session:
        y = layers.layer_norm(inputs=tf.constant(x, dtype), begin_norm_axis=-1, begin_params_axis=-1, scope=None)
        z = layers.layer_norm(inputs=tf.constant(x, dtype), begin_norm_axis=-1, begin_params_axis=-1, scope="named")
        assert y.dtype == dtype and [v.dtype.base_dtype for v in tf.trainable_variables()] == [dtype] * 4
        names = [v.op.name for v in tf.trainable_variables()]
        assert names == ["LayerNorm/beta", "LayerNorm/gamma", "named/beta", "named/gamma"], names
        session.run(tf.global_variables_initializer())
        error = np.abs(session.run(tf.cast(y, tf.float32)) - want).max()
        assert error < limit, (dtype, error)
print("ok")
"""


def test_layer_norm_in_every_type() -> None:
    assert run_code(LAYER_NORM).split() == ["ok"]


def test_runner_without_arguments_says_how_it_is_used() -> None:
    result = run_python("-m", "tf_fastbert.compat")
    assert result.returncode == 2 and "bert.run_squad" in result.stderr
    result = run_python("-m", "tf_fastbert.compat", "no/such/run_squad.py")
    assert result.returncode == 1 and "no such file: no/such/run_squad.py" in result.stderr
    for name in ("bert.run_sqad", "no_such_package.run_squad"):
        result = run_python("-m", "tf_fastbert.compat", name)
        assert result.returncode == 1 and f"no module {name}" in result.stderr and "Traceback" not in result.stderr
