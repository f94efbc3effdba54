"""`pip install .`: Bazel builds libtf_fastbert.so for the TensorFlow of this environment and the package takes it along.

TensorFlow must be installed first, in the environment that pip installs into: the library works with that minor version only. pip's
build isolation hides it from this script but not from a Python started apart from pip, as Bazel starts it; so no flag is needed. Build
front ends whose Python is another one (`python -m build`, uv) need PYTHON_BIN_PATH=<a Python that has TensorFlow>.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools < 70.1
    from wheel.bdist_wheel import bdist_wheel

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "third_party" / "onednn"))
import find_onednn  # noqa: E402

# What pip's build isolation sets, and what would hide TensorFlow from Bazel's Python.
ISOLATION = ("PYTHONPATH", "PYTHONNOUSERSITE")


def build_library() -> Path:
    """Builds the library for the TensorFlow of PYTHON_BIN_PATH (by default this Python's) and returns its path."""
    environment = {name: value for name, value in os.environ.items() if name not in ISOLATION}
    environment.setdefault("PYTHON_BIN_PATH", sys.executable)
    python = environment["PYTHON_BIN_PATH"]
    found = subprocess.run([python, "-c", "import tensorflow"], env=environment, capture_output=True, text=True)
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(
            f"tf_fastbert is built for an installed TensorFlow, but {python} cannot import one ({reason}). Install tensorflow or "
            "tensorflow-cpu first, or set PYTHON_BIN_PATH to a Python that has it."
        )
    try:
        environment.update(find_onednn.find())
    except FileNotFoundError as error:
        sys.exit(f"tf_fastbert: {error}")
    try:
        bazel = subprocess.run([ROOT / "tools/setup/find_bazel.sh"], check=True, capture_output=True, text=True).stdout.strip()
        subprocess.run([bazel, "build", "//:libtf_fastbert.so"], cwd=ROOT, env=environment, check=True)
    except subprocess.CalledProcessError as error:
        sys.exit((error.stderr or "").strip() or "tf_fastbert: Bazel could not build the library; its messages are above")
    return ROOT / "bazel-bin" / "libtf_fastbert.so"


class BuildWithLibrary(build_py):
    """build_py that also builds the library and, unless the installation is an editable one, copies it into the package."""

    def run(self) -> None:
        if not self.editable_mode:
            # setuptools never removes what an earlier build left here, and would put it into the wheel.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        library = build_library()
        if not self.editable_mode:
            target = Path(self.build_lib, "tf_fastbert", library.name)
            shutil.copyfile(library, target)


class PlatformWheel(bdist_wheel):
    """A wheel for this platform and any Python 3: the library does not use Python's ABI."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    """A distribution that holds compiled code, so that its wheel is not marked as running anywhere."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
    distclass=BinaryDistribution,
)
