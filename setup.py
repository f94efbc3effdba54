"""`pip install .`: Bazel builds libtf_fastbert.so for the TensorFlow of this environment and the package takes it along.

TensorFlow must be installed first, in the environment that pip installs into: the library works with that minor version only. pip's
build isolation hides it from this script but not from a Python started apart from pip, as Bazel starts it; so no flag is needed. Build
front ends whose Python is another one (`python -m build`, uv) need PYTHON_BIN_PATH=<a Python that has TensorFlow>.

With TF_FASTBERT_PREBUILT=<libtf_fastbert.so> that file is taken, and neither TensorFlow nor Bazel is needed. This is how
tools/setup/build_wheels.sh makes wheels.

The version says which TensorFlow the library is for: 0.1.0+tf2.21.
"""

from __future__ import annotations

import json
import os
import re
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
OPENMP = "libgomp.so.1"
EXAMPLES = (
    "bert_example.py",
    "profile_transformer_inference.py",
    "question_answering.py",
    "run_classifier_wrap.py",
    "run_squad_wrap.py",
)


def prebuilt_library() -> Path | None:
    """The file that TF_FASTBERT_PREBUILT names."""
    named = os.environ.get("TF_FASTBERT_PREBUILT")
    if not named:
        return None
    if not Path(named).is_file():
        sys.exit(f"tf_fastbert: TF_FASTBERT_PREBUILT names {named}, which does not exist")
    return Path(named).resolve()


def python_environment() -> dict[str, str]:
    """The environment in which Bazel and the Python of PYTHON_BIN_PATH (by default this one) see the installed packages."""
    environment = {name: value for name, value in os.environ.items() if name not in ISOLATION}
    environment.setdefault("PYTHON_BIN_PATH", sys.executable)
    return environment


def tensorflow_version() -> str:
    """The version of TensorFlow that the library is, or will be, built for."""
    if library := prebuilt_library():
        found = re.search(rb"tf_fastbert_build_info=(\{.*?\})\0", library.read_bytes())
        if not found:
            sys.exit(f"tf_fastbert: {library} is not an op library of tf_fastbert")
        return json.loads(found[1])["tensorflow"]
    environment = python_environment()
    python = environment["PYTHON_BIN_PATH"]
    code = "import tensorflow; print(tensorflow.__version__)"
    found = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True)
    if found.returncode:
        reason = (found.stderr.strip().splitlines() or ["no message"])[-1]
        sys.exit(
            f"tf_fastbert is built for an installed TensorFlow, but {python} cannot import one ({reason}). Install tensorflow or "
            "tensorflow-cpu first, or set PYTHON_BIN_PATH to a Python that has it."
        )
    return found.stdout.split()[-1]


def package_version() -> str:
    """The package's version and, but for source distributions, TensorFlow's minor version as its local part."""
    source = (ROOT / "tf_fastbert" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'^__version__ = "(.*)"', source, re.MULTILINE)[1]
    return version if SOURCE_DISTRIBUTION else f"{version}+tf{TENSORFLOW_MINOR}"


def build_library() -> Path:
    """Builds the library for the TensorFlow of PYTHON_BIN_PATH (by default this Python's) and returns its path."""
    environment = python_environment()
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


def openmp_library() -> Path | None:
    """gcc's OpenMP runtime, which oneDNN needs and minimal systems lack: the wheel carries it for them."""
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if not compiler:
        return None
    path = Path(subprocess.run([compiler, f"-print-file-name={OPENMP}"], capture_output=True, text=True).stdout.strip())
    return path.resolve() if path.is_absolute() and path.exists() else None


class BuildWithLibrary(build_py):
    """build_py that also builds the library and, unless the installation is an editable one, copies it into the package."""

    def run(self) -> None:
        if not self.editable_mode:
            # setuptools never removes what an earlier build left here, and would put it into the wheel.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        library = prebuilt_library() or build_library()
        if not self.editable_mode:
            shutil.copyfile(library, Path(self.build_lib, "tf_fastbert", "libtf_fastbert.so"))
            if openmp := openmp_library():
                shutil.copyfile(openmp, Path(self.build_lib, "tf_fastbert", OPENMP))


class PlatformWheel(bdist_wheel):
    """A wheel for this platform and any Python 3: the library does not use Python's ABI."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class BinaryDistribution(Distribution):
    """A distribution that holds compiled code, so that its wheel is not marked as running anywhere."""

    def has_ext_modules(self) -> bool:
        return True

    def parse_config_files(self, *args: object, **options: object) -> None:
        """Adds to pyproject.toml's extras: tf_fastbert[tensorflow-cpu] brings a TensorFlow that the library works with."""
        super().parse_config_files(*args, **options)
        if not SOURCE_DISTRIBUTION:
            for name in ("tensorflow", "tensorflow-cpu"):
                self.extras_require[name] = [f"{name}=={TENSORFLOW_MINOR}.*"]


def scripts() -> list[str]:
    """Tools, and examples that need nothing beside them: on the PATH after installation, under their names."""
    wanted = [*ROOT.glob("tools/*.py"), *(ROOT / "examples" / name for name in EXAMPLES)]
    return sorted(str(path.relative_to(ROOT)) for path in wanted if path.exists())


SOURCE_DISTRIBUTION = "sdist" in sys.argv
TENSORFLOW_MINOR = "" if SOURCE_DISTRIBUTION else ".".join(tensorflow_version().split(".")[:2])

setup(
    version=package_version(),
    scripts=scripts(),
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
    distclass=BinaryDistribution,
)
