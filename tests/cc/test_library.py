"""Finding and loading the op library, and what it says about itself."""

from __future__ import annotations

import ctypes
import json
import pathlib
import re
import subprocess
import threading
from typing import Any

import pytest
import tensorflow as tf

from tests.op_runner import run_python
from tf_fastbert import ops


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no library had been loaded yet."""
    monkeypatch.setattr(ops, "_module", None)


def altered_library(folder: pathlib.Path, old: bytes, new: bytes) -> pathlib.Path:
    data = ops.library_path().read_bytes()
    assert old in data and len(old) == len(new)
    path = folder / "libtf_fastbert.so"
    path.write_bytes(data.replace(old, new))
    return path


def test_build_info() -> None:
    info = ops.build_info()
    assert set(info) == {"version", "tensorflow", "cuda", "cuda_archs", "onednn"}
    assert info["tensorflow"].split(".")[:2] == tf.__version__.split(".")[:2]
    assert isinstance(info["cuda"], bool) and bool(info["cuda_archs"]) == info["cuda"]
    ops.load_library()
    function = ctypes.CDLL(str(ops.library_path())).tf_fastbert_build_info
    function.restype = ctypes.c_char_p
    assert json.loads(function()) == info


def test_loaded_once_by_many_threads(fresh: None) -> None:
    modules: list[Any] = []
    threads = [threading.Thread(target=lambda: modules.append(ops.load_library())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(modules) == 8 and len({id(module) for module in modules}) == 1


def test_missing(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("TF_FASTBERT_LIBRARY", str(tmp_path / "nowhere.so"))
    with pytest.raises(ImportError, match=r"TF_FASTBERT_LIBRARY names .*nowhere\.so"):
        ops.load_library()
    monkeypatch.delenv("TF_FASTBERT_LIBRARY")
    monkeypatch.setattr(ops, "_PACKAGE", tmp_path / "tf_fastbert")
    with pytest.raises(ImportError, match=r"libtf_fastbert\.so was not found.*make build"):
        ops.load_library()


def test_order_of_search(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.delenv("TF_FASTBERT_LIBRARY", raising=False)
    monkeypatch.setattr(ops, "_PACKAGE", tmp_path / "tf_fastbert")
    built = tmp_path / "bazel-bin" / "libtf_fastbert.so"
    beside = tmp_path / "tf_fastbert" / "libtf_fastbert.so"
    named = tmp_path / "named.so"
    for path in (built, beside, named):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        if path == named:
            monkeypatch.setenv("TF_FASTBERT_LIBRARY", str(named))
        assert ops.library_path() == path


def test_built_for_another_tensorflow(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    built_for = f'"tensorflow": "{ops.build_info()["tensorflow"]}"'.encode()
    path = altered_library(tmp_path, built_for, re.sub(rb'"\d\.\d', b'"1.0', built_for))
    monkeypatch.setenv("TF_FASTBERT_LIBRARY", str(path))
    with pytest.raises(
        ImportError, match=rf"built for TensorFlow 1\.0.*this is TensorFlow {re.escape(tf.__version__)}.*make build"
    ):
        ops.load_library()


@pytest.mark.parametrize("content", [b"", b"not a library", b"tf_fastbert_build_info={oops\0"])
def test_not_a_library(content: bytes, fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "libtf_fastbert.so"
    path.write_bytes(content)
    monkeypatch.setenv("TF_FASTBERT_LIBRARY", str(path))
    with pytest.raises(ImportError, match=re.escape(str(path))):
        ops.load_library()


def test_broken_library(fresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "libtf_fastbert.so"
    path.write_bytes(b"tf_fastbert_build_info=" + json.dumps({"tensorflow": tf.__version__}).encode() + b"\0")
    monkeypatch.setenv("TF_FASTBERT_LIBRARY", str(path))
    with pytest.raises(ImportError, match=f"{re.escape(str(path))} cannot be loaded"):
        ops.load_library()


def test_onednn_missing(tmp_path: pathlib.Path) -> None:
    """Copied away from its libdnnl.so.3, in a process that has not loaded one."""
    if not ops.build_info()["onednn"]:
        pytest.skip("this library has no oneDNN backend")
    altered_library(tmp_path, b"libdnnl.so.3\0", b"libdnnl.so.9\0")
    code = """
import re
import subprocess
from tf_fastbert import ops
ops._ONEDNN = "libdnnl.so.9"
try:
    ops.load_library()
except ImportError as error:
    assert re.search(r"needs oneDNN \\(libdnnl.so.9\\).*pip install onednn-cpu-gomp", str(error)), error
    print("refused")
"""
    assert "refused" in run_python("-c", code, TF_FASTBERT_LIBRARY=str(tmp_path / "libtf_fastbert.so"))


# gcc's OpenMP runtime under another name, which no system has.
OTHER_OPENMP = """
import pathlib, sys
from tf_fastbert import ops
ops._OPENMP = "libgomp.so.9"
ops._PACKAGE = pathlib.Path(sys.argv[1])
try:
    ops.load_library()
    print("loaded")
except ImportError as error:
    print(error)
"""


def test_openmp_missing(tmp_path: pathlib.Path) -> None:
    altered_library(tmp_path, b"libgomp.so.1\0", b"libgomp.so.9\0")
    library = str(tmp_path / "libtf_fastbert.so")
    text = run_python("-c", OTHER_OPENMP, str(tmp_path / "package"), TF_FASTBERT_LIBRARY=library)
    assert "needs the OpenMP runtime of gcc (libgomp.so.9)" in text and "libgomp1" in text


def test_openmp_comes_with_the_package(tmp_path: pathlib.Path) -> None:
    system = re.search(r"libgomp\.so\.1.* => (\S+)", subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True).stdout)
    if not system:
        pytest.skip("the loader's cache names no libgomp.so.1")
    altered_library(tmp_path, b"libgomp.so.1\0", b"libgomp.so.9\0")
    package = tmp_path / "package"
    package.mkdir()
    copy = pathlib.Path(system[1]).read_bytes().replace(b"libgomp.so.1\0", b"libgomp.so.9\0")
    (package / "libgomp.so.9").write_bytes(copy)
    text = run_python("-c", OTHER_OPENMP, str(package), TF_FASTBERT_LIBRARY=str(tmp_path / "libtf_fastbert.so"))
    assert "loaded" in text
