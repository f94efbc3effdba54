"""The wheel: its name, what is in it, and that it works where there is no source tree."""

from __future__ import annotations

import email
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest
import tensorflow as tf

import tf_fastbert
from tf_fastbert import ops

ROOT = pathlib.Path(__file__).resolve().parents[1]
MINOR = ".".join(tf.__version__.split(".")[:2])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Made of a copy of the tree with the library that the tests run on; no compiler, no Bazel, nothing fetched."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("tf_fastbert", "tools", "examples", "third_party/onednn"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    environment = {**os.environ, "TF_FASTBERT_PREBUILT": str(ops.library_path())}
    built = subprocess.run([*command, out, source], env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return path


def test_name_says_which_tensorflow(wheel: pathlib.Path) -> None:
    assert wheel.name.startswith(f"tf_fastbert-{tf_fastbert.__version__}+tf{MINOR}-py3-none-linux_")


def test_contents(wheel: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (email.message_from_bytes(archive.read(name)) for name in names if name.endswith(".dist-info/METADATA"))
        assert archive.read("tf_fastbert/libtf_fastbert.so") == ops.library_path().read_bytes()
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tf_fastbert").rglob("*") if path.is_file()}
    left_out = {name for name in files - names if "__pycache__" not in name and not name.endswith(".so")}
    assert not left_out, "pyproject.toml's package-data lacks them"
    scripts = {pathlib.PurePath(name).name for name in names if ".data/scripts/" in name}
    assert scripts >= {path.name for path in (ROOT / "tools").glob("*.py")} | {"run_squad_wrap.py", "run_classifier_wrap.py"}
    assert not any(name.startswith(("tests/", "tools/", "benchmarks/")) for name in names)
    required = metadata.get_all("Requires-Dist")
    for name in ("tensorflow", "tensorflow-cpu"):
        assert f'{name}=={MINOR}.*; extra == "{name}"' in required


def test_works_without_the_source_tree(wheel: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Unpacked and run from elsewhere, with a PATH that has no compiler."""
    site, scripts = tmp_path / "site", tmp_path / "scripts"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / next(path.name for path in site.glob("*.data")) / "scripts").rename(scripts)
    names = ("TF_FASTBERT_LIBRARY", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PYTHONPATH": str(site), "PATH": str(tmp_path)}
    doctor = subprocess.run([sys.executable, "-m", "tf_fastbert"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert f"{site}/tf_fastbert/libtf_fastbert.so" in doctor.stdout
    tool = scripts / "ckpt_type_convert.py"
    helped = subprocess.run([sys.executable, tool, "--help"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert helped.returncode == 0 and "--fp16_checkpoint" in helped.stdout


def test_a_prebuilt_library_that_is_none(tmp_path: pathlib.Path) -> None:
    for path, words in ((tmp_path / "nowhere.so", "does not exist"), (ROOT / "LICENSE", "is not an op library")):
        run = subprocess.run(
            [sys.executable, "setup.py", "--version"],
            cwd=ROOT,
            env={**os.environ, "TF_FASTBERT_PREBUILT": str(path)},
            capture_output=True,
            text=True,
        )
        assert run.returncode == 1 and words in run.stderr and "Traceback" not in run.stderr, run.stderr
