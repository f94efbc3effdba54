"""The CPU and the GPUs, and what the op library does on each, from the functions of the library that choose."""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import platform
from typing import Any

from tf_fastbert import gemm_tables
from tf_fastbert.cuda import abi, driver
from tf_fastbert.doctor.report import Report

# What the choice of kernels depends on, as /proc/cpuinfo names it.
_CPU_FEATURES = ("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")
_LIMIT = "DNNL_MAX_CPU_ISA"


# ----------------------------------------------------------------------------------------------------
# CPU
# ----------------------------------------------------------------------------------------------------


def _cpu() -> tuple[str, list[str]]:
    model, flags = platform.processor() or platform.machine(), set()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    model = value.strip()
                elif key.strip() == "flags":
                    flags = set(value.split())
                    break
    except OSError:
        pass
    return model, [name for name in _CPU_FEATURES if name in flags]


def describe_cpu(report: Report, library: pathlib.Path) -> None:
    """What this CPU has, what the library makes of it, and why not more."""
    model, features = _cpu()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    report.line(
        "CPU", f"{model}, {cores} cores ({', '.join(features) or 'none of ' + ', '.join(_CPU_FEATURES)})", cpu=model, cores=cores,
        cpu_features=features,
    )  # fmt: skip
    try:
        describe = ctypes.CDLL(os.fspath(library)).tf_fastbert_cpu_report
    except AttributeError:
        report.line("CPU backend", "the library is of an older version, which does not say what it chooses")
        return
    describe.restype = ctypes.c_char_p
    policy = json.loads(describe())
    report.fact("cpu_kernels", policy)
    report.line("CPU backend", f"oneDNN and {policy['vectors']} kernels; {_why_no_amx(policy['amx'], features)}")
    for name, what in policy["types"].items():
        report.line(f"  {name}", f"products in {what['products']}, attention in {what['attention']}")


def _why_no_amx(amx: bool, features: list[str]) -> str:
    if amx:
        return "AMX kernels"
    if os.environ.get(_LIMIT):
        return f"no AMX kernels: {_LIMIT}={os.environ[_LIMIT]}"
    if "amx_bf16" in features:
        return "no AMX kernels: the operating system does not let this process use them"
    return "no AMX kernels: this CPU has no AMX"


# ----------------------------------------------------------------------------------------------------
# GPU
# ----------------------------------------------------------------------------------------------------


def describe_gpus(report: Report, tf: Any, info: dict[str, Any], library: pathlib.Path) -> list[str]:
    """Driver, runtime, cuBLASLt and each GPU, or why there is none; returns the names of the devices that the op can use."""
    shown = driver.device_count()
    devices = tf.config.list_physical_devices("GPU")
    report.fact("gpus", [])
    possible = shown or tf.sysconfig.get_build_info().get("is_cuda_build")  # else the GPU's line says all
    versions = _versions(report, library, needed=bool(devices)) if info["cuda"] and possible else None
    if not devices:
        report.line("GPU", _why_no_gpu(tf, shown))
        return []
    if not info["cuda"]:
        report.problem("GPU backend", "the op library was built without CUDA: run `make build` again where nvcc is")
        return []
    for index, device in enumerate(devices):
        details = tf.config.experimental.get_device_details(device)
        capability = tuple(details.get("compute_capability", ()))
        _describe_gpu(report, index, details.get("device_name", device.name), capability, info["cuda_archs"], versions)
    return [f"/GPU:{index}" for index in range(len(devices))]


def _why_no_gpu(tf: Any, shown: int) -> str:
    if not tf.sysconfig.get_build_info().get("is_cuda_build"):
        there = f"{shown} shown by the driver, not used" if shown else "not used"
        return f"{there}: this TensorFlow is built without CUDA (install tensorflow[and-cuda])"
    if not shown:
        return "none: no NVIDIA driver here, or it shows no GPU (CUDA_VISIBLE_DEVICES?)"
    return (
        f"{shown} shown by the driver, none that TensorFlow can use: it misses CUDA libraries (pip install tensorflow[and-cuda]); "
        "its log says which"
    )


def _versions(report: Report, library: pathlib.Path, needed: bool) -> abi.Versions | None:
    """Driver, runtime and cuBLASLt as the library sees them. `needed`: there is a GPU to use, so what is missing is a problem."""
    loaded = ctypes.CDLL(os.fspath(library))
    if not hasattr(loaded, "fastbert_cuda_versions"):
        report.line("CUDA", "the library is of an older version, which does not say what it finds")
        return None
    versions = abi.Versions()
    loaded.fastbert_cuda_versions.argtypes = [ctypes.POINTER(abi.Versions)]
    loaded.fastbert_cuda_last_error.restype = ctypes.c_char_p
    found = loaded.fastbert_cuda_versions(ctypes.byref(versions)) == 0
    runtime, newest = _dotted(versions.runtime), _dotted(versions.driver)
    report.fact("cuda", {"runtime": runtime, "driver": newest if versions.driver else None})
    if needed and versions.driver // 1000 < versions.runtime // 1000:
        report.problem(
            "CUDA driver",
            f"supports CUDA {newest}, and the library holds the runtime of CUDA {runtime}: install a newer driver, or build with "
            f"the nvcc of CUDA {newest}",
        )
    else:
        supported = f"supports CUDA {newest}" if versions.driver else "none (libcuda.so.1 is not there, or shows no version)"
        report.line("CUDA driver", f"{supported}; the library holds the runtime of CUDA {runtime}")
    if found:
        number, path = versions.cublaslt, versions.cublaslt_path.decode()
        text = f"{number // 10000}.{number // 100 % 100}.{number % 100}"
        report.line("cuBLASLt", f"{text} ({path})")
        report.facts["cuda"].update(cublaslt=text, cublaslt_path=path)
        return versions
    error = loaded.fastbert_cuda_last_error().decode()
    (report.problem if needed else report.line)("cuBLASLt", error)
    return None


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _describe_gpu(
    report: Report, index: int, name: str, capability: tuple[int, ...], archs: str, versions: abi.Versions | None
) -> None:
    """One GPU: the code there is for it, which kernels that means, and tables of tuned products."""
    code = code_for(capability, archs)
    text = f"{name}, compute capability {'.'.join(map(str, capability)) or 'unknown'}"
    facts: dict[str, Any] = {"name": name, "capability": list(capability), "code": code}
    report.facts["gpus"].append(facts)
    if code is None:
        report.problem(f"GPU {index}", f"{text}: the library, built for {archs}, has no code for it; set TF_FASTBERT_CUDA_ARCHS")
        return
    report.line(f"GPU {index}", f"{text}; runs {code}")
    report.line("  kernels", kernels_for(capability, archs))
    if versions is not None:
        fitting, others = _tables(name, versions.cublaslt)
        facts["gemm_tables"] = fitting
        report.line("  tuned products", _tables_text(fitting, others))


def code_for(capability: tuple[int, ...], archs: str) -> str | None:
    """Which of the library's code a GPU runs, or None: that of its own generation, else what it can compile from PTX."""
    if len(capability) < 2:
        return "unknown code"
    major, minor = capability[:2]
    number = major * 10 + minor
    binaries = [arch.removeprefix("sm_") for arch in archs.split(";") if arch != "ptx"]
    if f"{number}a" in binaries:
        return f"code for sm_{number}a"
    # Code for 8.0 runs on 8.6 too; code for an "a" or "f" variant runs nowhere else.
    same = [int(arch) for arch in binaries if arch.isdigit() and int(arch) // 10 == major and int(arch) <= number]
    if same:
        return f"code for sm_{max(same)}"
    if "ptx" in archs.split(";") and int(binaries[0].rstrip("af")) <= number:
        return f"PTX of compute_{binaries[0].rstrip('af')}, compiled by the driver when it is first used"
    return None


def kernels_for(capability: tuple[int, ...], archs: str) -> str:
    """Which of the kernels that not every GPU has would run, and why not the others."""
    if tuple(capability[:2]) == (9, 0) and "sm_90a" in archs.split(";"):
        return "Hopper's: wgmma attention, int8 and FP8 products, LayerNorm inside the products of 16-bit models"
    if tuple(capability[:2]) == (9, 0):
        return "general ones; Hopper's, and products in 8 bits, need a library built for sm_90a"
    old = "; bfloat16 and TF32 need compute capability 8.0" if capability and capability[0] < 8 else ""
    return f"general ones; 8-bit checkpoints run in 16 bits: products in 8 bits need compute capability 9.0{old}"


def _tables(gpu: str, cublaslt: int) -> tuple[list[str], list[str]]:
    """The tables for this GPU and cuBLASLt, and, if there is none, what those that are there are for."""
    fitting, others = [], []
    for path in gemm_tables.table_files():
        for made_for, version in gemm_tables.made_for(path):
            if (made_for, version) == (gpu, cublaslt):
                fitting.append(str(path))
            else:
                others.append(f"{made_for} with cuBLASLt {version}")
    return list(dict.fromkeys(fitting)), list(dict.fromkeys(others))


def _tables_text(fitting: list[str], others: list[str]) -> str:
    if fitting:
        return f"taken from {', '.join(map(os.path.basename, fitting))}"
    there = f" (tables are there for {'; '.join(others)})" if others else ""
    return f"none for this GPU and cuBLASLt{there}; tools/gemm_tune.py makes a table"
