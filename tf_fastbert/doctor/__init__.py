"""What `python -m tf_fastbert` prints: which library and which backends would run here, why others would not, and a self-check.

- report: the lines for people and the facts for programs.
- machine: the CPU, the GPUs, and what the library does on each.
- self_check: the op against plain TensorFlow.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import tf_fastbert
from tf_fastbert.doctor import machine, self_check
from tf_fastbert.doctor.report import Report

__all__ = ["Report", "diagnose", "run"]

# What the wrappers and tf_fastbert.patch take Google's code from.
_GOOGLE = {"bert-tensorflow": "Google's BERT scripts", "tf-keras": "tf.layers, which they use", "tensorflow-estimator": "Estimator"}


def _packages(report: Report, tensorflow: str) -> None:
    for name in ("numpy", "onednn-cpu-gomp"):
        report.fact(name, _version(name))
    # TensorFlow has tf.layers itself up to 2.15.
    needed = [name for name in _GOOGLE if name != "tf-keras" or tuple(map(int, tensorflow.split(".")[:2])) > (2, 15)]
    versions = {name: _version(name) for name in needed}
    report.fact("google", versions)
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = ", ".join(f"{name} ({what})" for name, what in _GOOGLE.items() if name in versions and not versions[name])
    missing = missing and f"not installed: {missing}; only the wrappers need it"
    report.line("Google's scripts", "; ".join(filter(None, (there, missing))))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def diagnose(write: Callable[[str], None] = print) -> Report:
    """Writes the report line by line as it is found, and returns it."""
    report = Report(write)
    report.line("tf_fastbert", tf_fastbert.__version__, version=tf_fastbert.__version__)
    report.line("Python", f"{platform.python_version()} ({sys.executable})", python=platform.python_version())
    try:
        import tensorflow as tf
    except ImportError as error:
        report.problem("TensorFlow", f"cannot be imported ({error}): pip install tensorflow, or tensorflow-cpu")
        return report
    report.line("TensorFlow", f"{tf.__version__} ({_cuda_build(tf)})", tensorflow=tf.__version__)
    _packages(report, tf.__version__)

    from tf_fastbert import ops

    try:
        info = ops.build_info()
        path = ops.library_path()
        report.line("op library", path, library=str(path), built=info)
        cuda = f"CUDA for {info['cuda_archs']}" if info["cuda"] else "no CUDA"
        text = f"version {info['version']}, for TensorFlow {info['tensorflow']}, oneDNN {info['onednn'] or 'none'}, {cuda}"
        report.line("built", text)
        ops.load_library()
    except ImportError as error:
        report.problem("op library", error)
        return report
    machine.describe_cpu(report, path)
    devices = ["/CPU:0", *machine.describe_gpus(report, tf, info, path)]
    start = time.monotonic()
    for device in devices:
        self_check.run(report, tf, device)
    report.fact("self_check_seconds", round(time.monotonic() - start, 2))
    return report


def _cuda_build(tf: Any) -> str:
    return "with CUDA" if tf.sysconfig.get_build_info().get("is_cuda_build") else "CPU only"


def run(write: Callable[[str], None] = print) -> bool:
    """Writes the report and its verdict, and returns whether everything that should work here does."""
    report = diagnose(write)
    write("everything that should work here does" if report.healthy else "something is wrong: see PROBLEM above")
    return report.healthy
