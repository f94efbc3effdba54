"""examples/cpp/saved_model_example.c: an exported model from C, with no Python in the process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tests.export.models import export_tiny
from tests.wrap import tiny_model

SOURCE = tiny_model.REPO / "examples" / "cpp" / "saved_model_example.c"
LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model, and the program as its head says it is compiled."""
    tensorflow = Path(tf.sysconfig.get_lib())
    if shutil.which("gcc") is None or not all((tensorflow / name).exists() for name in LIBRARIES):
        pytest.skip("needs gcc and a TensorFlow that brings its C library")
    folder = tmp_path_factory.mktemp("c")
    tiny_model.write_model(folder)
    export_tiny(folder, folder / "model", with_library=True)
    command = ["gcc", SOURCE, "-o", folder / "example", f"-I{tensorflow}/include", f"-L{tensorflow}"]
    subprocess.run([*command, *(f"-l:{name}" for name in LIBRARIES), "-Wall", "-Wextra", "-Werror"], check=True, timeout=600)
    return folder


def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(folder / "example"), *map(str, arguments)],
        capture_output=True, text=True, timeout=600, check=False, env={**os.environ, "LD_LIBRARY_PATH": tf.sysconfig.get_lib()},
    )  # fmt: skip


def test_it_prints_what_python_computes(folder: Path) -> None:
    ids = [2, 9, 11, 3, 14, 7, 3]
    done = run(folder, folder / "model", folder / "model/assets.extra/libtf_fastbert.so", "end_logits", *ids)
    assert done.returncode == 0, done.stderr
    model = tf.saved_model.load(str(folder / "model"))
    ones = tf.ones([1, len(ids)], tf.int32)
    want = model.signatures["serving_default"](input_ids=tf.constant([ids]), input_mask=ones, segment_ids=0 * ones)["end_logits"]
    np.testing.assert_allclose([float(line) for line in done.stdout.split()], want[0], atol=2e-6)


def test_its_mistakes(folder: Path) -> None:
    library = folder / "model/assets.extra/libtf_fastbert.so"
    done = run(folder, folder / "model", "nothing.so", "end_logits", 2)
    assert done.returncode == 1 and "error: nothing.so: " in done.stderr
    done = run(folder, folder, library, "end_logits", 2)
    assert done.returncode == 1 and f"error: {folder}: Could not find SavedModel" in done.stderr
    done = run(folder, folder / "model", library, "end", 2)
    assert done.returncode == 2 and "error: end is the name of no output" in done.stderr
    assert run(folder).returncode == 2
