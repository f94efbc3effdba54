"""`python -m tf_fastbert`: its report and its exit status."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest

from tf_fastbert import doctor, ops
from tf_fastbert.doctor import machine, self_check


def report_lines() -> tuple[bool, list[str]]:
    lines: list[str] = []
    return doctor.run(lines.append), lines


def test_healthy_installation():
    healthy, lines = report_lines()
    assert healthy
    text = "\n".join(lines)
    assert str(ops.library_path()) in text
    for dtype in ("float32", "float16", "bfloat16"):
        assert any(line.startswith("self-check /CPU:0") and dtype in line for line in lines), text
    assert "PROBLEM" not in text


def test_wrong_results_are_a_problem(monkeypatch):
    real = self_check._plain_encoder
    monkeypatch.setattr(self_check, "_plain_encoder", lambda *args: real(*args) * (1.0 + 1e-3))
    healthy, lines = report_lines()
    assert not healthy
    assert any("PROBLEM: float32, relative error 1.0e-03" in line for line in lines)


def test_nan_is_a_problem(monkeypatch):
    real = self_check._plain_encoder
    monkeypatch.setattr(self_check, "_plain_encoder", lambda *args: real(*args) * np.nan)
    assert not report_lines()[0]


def test_missing_library(tmp_path):
    process = subprocess.run(
        [sys.executable, "-m", "tf_fastbert"],
        env={"TF_FASTBERT_LIBRARY": str(tmp_path / "nowhere.so"), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "PROBLEM: TF_FASTBERT_LIBRARY names" in process.stdout


@pytest.mark.parametrize("flag", ["--help", "--unknown"])
def test_command_line(flag):
    process = subprocess.run([sys.executable, "-m", "tf_fastbert", flag], capture_output=True, text=True, check=False)
    assert process.returncode == (0 if flag == "--help" else 2)
    assert "python -m tf_fastbert" in process.stdout + process.stderr


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tf_fastbert", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def cpu_kernels() -> bool:
    return hasattr(ctypes.CDLL(str(ops.library_path())), "tf_fastbert_cpu_report")


def test_json():
    process = run_doctor("--json")
    document = json.loads(process.stdout)
    assert process.returncode == (0 if document["healthy"] else 1)
    assert document["problems"] == []
    assert document["built"] == ops.build_info()
    assert document["library"] == str(ops.library_path())
    errors = document["self_check"]["/CPU:0"]
    assert set(errors) == {"float32", "float16", "bfloat16"} and all(0 < error < 3e-2 for error in errors.values())
    if cpu_kernels():
        types = document["cpu_kernels"]["types"]
        assert {"float32", "float16", "bfloat16", "int8 modes"} <= set(types)


def test_json_of_a_problem(tmp_path):
    process = run_doctor("--json", TF_FASTBERT_LIBRARY=str(tmp_path / "nowhere.so"))
    document = json.loads(process.stdout)
    assert process.returncode == 1 and not document["healthy"]
    assert "TF_FASTBERT_LIBRARY names" in document["problems"][0]


def test_cpu_kernels_obey_the_limit():
    """The report comes from the functions that choose: with oneDNN held to AVX2 they choose float32."""
    if not cpu_kernels():
        pytest.skip("a library of an older version")
    document = json.loads(run_doctor("--json", DNNL_MAX_CPU_ISA="AVX2").stdout)
    kernels = document["cpu_kernels"]
    assert not kernels["amx"] and not kernels["bfloat16"]
    assert kernels["types"]["bfloat16"] == {"products": "float32 (oneDNN)", "attention": "float32"}
    assert document["healthy"]


def test_another_tensorflow_is_a_problem(tmp_path):
    version = ops.build_info()["tensorflow"]
    library = tmp_path / "libtf_fastbert.so"
    data = ops.library_path().read_bytes()
    other = "1" + version[1:]
    library.write_bytes(data.replace(f'"tensorflow": "{version}"'.encode(), f'"tensorflow": "{other}"'.encode()))
    process = run_doctor(TF_FASTBERT_LIBRARY=str(library))
    assert process.returncode == 1
    assert f"PROBLEM: {library} was built for TensorFlow {other}" in process.stdout
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("capability", "archs", "code"),
    [
        ((9, 0), "sm_80;sm_90a;ptx", "code for sm_90a"),
        ((8, 0), "sm_80;sm_90a;ptx", "code for sm_80"),
        ((8, 9), "sm_80;sm_90a;ptx", "code for sm_80"),
        ((10, 0), "sm_80;sm_90a;ptx", "PTX of compute_80, compiled by the driver when it is first used"),
        ((10, 0), "sm_80;sm_90a", None),
        ((9, 0), "sm_90", "code for sm_90"),
        ((7, 5), "sm_80;sm_90a;ptx", None),
        ((7, 5), "sm_75;sm_90a;ptx", "code for sm_75"),
        ((8, 0), "sm_86", None),
        ((), "sm_80", "unknown code"),
    ],
)
def test_code_for_a_gpu(capability, archs, code):
    assert machine.code_for(capability, archs) == code


@pytest.mark.parametrize(
    ("capability", "archs", "words"),
    [
        ((9, 0), "sm_80;sm_90a;ptx", "Hopper's"),
        ((9, 0), "sm_80;ptx", "need a library built for sm_90a"),
        ((8, 0), "sm_80;sm_90a;ptx", "8-bit checkpoints run in 16 bits"),
        ((7, 5), "sm_75", "bfloat16 and TF32 need compute capability 8.0"),
    ],
)
def test_kernels_for_a_gpu(capability, archs, words):
    assert words in machine.kernels_for(capability, archs)


def test_tables_for_a_gpu(tmp_path, monkeypatch):
    table = tmp_path / "mine.txt"
    table.write_text("tf_fastbert gemm table 1\ngpu NVIDIA X\ncublaslt 120901\nend 0 0\n")
    monkeypatch.setenv("TF_FASTBERT_GEMM_TABLES", str(table))
    fitting, others = machine._tables("NVIDIA X", 120901)
    assert fitting == [str(table)]
    assert "taken from mine.txt" in machine._tables_text(fitting, others)
    fitting, others = machine._tables("NVIDIA X", 130100)
    assert fitting == []
    text = machine._tables_text(fitting, others)
    assert "none for this GPU" in text and "NVIDIA X with cuBLASLt 120901" in text and "tools/gemm_tune.py" in text


def test_the_packages_own_tables_say_what_they_are_for():
    from tf_fastbert import gemm_tables

    folder = pathlib.Path(gemm_tables.__file__).parent / "tuned_gemms"
    files = sorted(folder.glob("*.txt"))
    assert files and all(gemm_tables.made_for(path) for path in files)


def test_driver_too_old_for_the_runtime():
    """The library holds CUDA's runtime: a GPU whose driver knows only an older CUDA cannot run it."""
    if not ops.build_info()["cuda"] or not hasattr(ctypes.CDLL(str(ops.library_path())), "fastbert_cuda_versions"):
        pytest.skip("a library without CUDA, or of an older version")
    if machine.driver.device_count():
        pytest.skip("there is a driver here")
    lines: list[str] = []
    report = doctor.Report(lines.append)
    machine._versions(report, ops.library_path(), needed=True)
    assert not report.healthy
    assert any(line.startswith("CUDA driver") and "install a newer driver" in line for line in lines)
    assert any("cuBLASLt" in line and "TF_FASTBERT_CUBLASLT" in line for line in lines)


H100 = {"device_name": "NVIDIA H100 80GB HBM3", "compute_capability": (9, 0)}


def fake_tensorflow(cuda: bool, gpus: list[dict[str, Any]]) -> Any:
    """What the doctor asks TensorFlow about GPUs."""
    devices = [types.SimpleNamespace(name=f"/physical_device:GPU:{index}", details=gpu) for index, gpu in enumerate(gpus)]
    return types.SimpleNamespace(
        sysconfig=types.SimpleNamespace(get_build_info=lambda: {"is_cuda_build": cuda}),
        config=types.SimpleNamespace(
            list_physical_devices=lambda kind: devices,
            experimental=types.SimpleNamespace(get_device_details=lambda device: device.details),
        ),
    )


def gpu_report(
    monkeypatch: pytest.MonkeyPatch, *, cuda: bool = True, gpus: tuple[dict[str, Any], ...] = (), shown: int = 0, has_cuda: bool = True
) -> tuple[doctor.Report, list[str], str]:
    """describe_gpus on such a machine, whose library has found cuBLASLt 13.1."""
    found = machine.abi.Versions(runtime=13000, driver=13000, cublaslt=130100, cublaslt_path=b"/x/libcublasLt.so.13")
    monkeypatch.setattr(machine, "_versions", lambda report, library, needed: found)
    monkeypatch.setattr(machine.driver, "device_count", lambda: shown)
    lines: list[str] = []
    report = doctor.Report(lines.append)
    info = {"cuda": has_cuda, "cuda_archs": "sm_80;sm_90a;ptx" if has_cuda else ""}
    devices = machine.describe_gpus(report, fake_tensorflow(cuda, list(gpus)), info, pathlib.Path("library.so"))
    return report, devices, "\n".join(lines)


def test_gpu_with_code_kernels_and_tables(monkeypatch):
    report, devices, text = gpu_report(monkeypatch, gpus=(H100, H100), shown=2)
    assert report.healthy and devices == ["/GPU:0", "/GPU:1"]
    assert "NVIDIA H100 80GB HBM3, compute capability 9.0; runs code for sm_90a" in text
    assert "wgmma" in text
    assert "taken from NVIDIA_H100_80GB_HBM3_bert_base_float16.txt" in text
    assert [gpu["code"] for gpu in report.facts["gpus"]] == ["code for sm_90a"] * 2


def test_gpu_that_the_library_has_no_code_for(monkeypatch):
    old = {"device_name": "Tesla T4", "compute_capability": (7, 5)}
    report, _, text = gpu_report(monkeypatch, gpus=(old,), shown=1)
    assert not report.healthy
    assert "PROBLEM: Tesla T4, compute capability 7.5: the library, built for sm_80;sm_90a;ptx, has no code for it" in text


def test_gpu_and_a_library_without_cuda(monkeypatch):
    report, devices, text = gpu_report(monkeypatch, gpus=(H100,), shown=1, has_cuda=False)
    assert devices == []
    assert not report.healthy and "PROBLEM: the op library was built without CUDA" in text


@pytest.mark.parametrize(
    ("cuda", "shown", "words"),
    [
        (False, 0, "not used: this TensorFlow is built without CUDA"),
        (False, 2, "2 shown by the driver, not used: this TensorFlow is built without CUDA"),
        (True, 0, "none: no NVIDIA driver here"),
        (True, 1, "1 shown by the driver, none that TensorFlow can use: it misses CUDA libraries"),
    ],
)
def test_why_no_gpu(monkeypatch, cuda, shown, words):
    report, devices, text = gpu_report(monkeypatch, cuda=cuda, shown=shown)
    assert report.healthy and devices == []
    assert words in text
