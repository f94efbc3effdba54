"""Ours without TensorFlow, for benchmarks/cpu_peers.py: the CPU backend behind cc/cpu/c_api.h, with threads of its own.

    bazel build //cc/cpu:libfastbert_cpu.so

TF_FASTBERT_CPU_LIBRARY names the library where it is not in bazel-bin; libdnnl.so.3 lies beside it, where pip puts it, or where
the loader finds it.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.case import Case, Row, store, to_float32
from benchmarks.shapes import MODELS
from tf_fastbert.cuda import abi
from tf_fastbert.cuda.encoder import quantize_layer

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def load() -> ctypes.CDLL:
    """Raises OSError with what is missing."""
    path = pathlib.Path(os.environ.get("TF_FASTBERT_CPU_LIBRARY") or ROOT / "bazel-bin" / "cc" / "cpu" / "libfastbert_cpu.so")
    if not path.exists():
        raise OSError(f"{path} does not exist: bazel build //cc/cpu:libfastbert_cpu.so, or set TF_FASTBERT_CPU_LIBRARY")
    for folder in (path.parent, pathlib.Path(sys.prefix) / "lib"):
        if (folder / "libdnnl.so.3").is_file():
            ctypes.CDLL(str(folder / "libdnnl.so.3"))
            break
    loaded = ctypes.CDLL(str(path))
    loaded.fastbert_cpu_instructions.restype = ctypes.c_char_p
    loaded.fastbert_cpu_destroy.restype = None
    return loaded


class _Config(ctypes.Structure):
    """FastBertCpuConfig."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in ("num_layers", "num_heads", "size_per_head", "inner_size", "dtype", "quantization")
    ]


class Native:
    """A family of benchmarks/cpu_peers.py."""

    def __init__(self, case: Case, threads: int):
        self.library = load()
        self.case, self.threads = case, threads
        self.versions = f"ours without TensorFlow ({self.library.fastbert_cpu_instructions().decode()})"
        self.encoders: dict[str, ctypes.c_void_p] = {}

    def check(self, status: int, error: ctypes.Array[ctypes.c_char]) -> None:
        if status != 0:
            raise RuntimeError(error.value.decode())

    def encoder(self, precision: str) -> ctypes.c_void_p:
        if precision in self.encoders:
            return self.encoders[precision]
        int8 = precision == "int8"
        dtype = "float32" if int8 else precision
        layers: list[dict[str, np.ndarray]] = [{n: store(v, dtype) for n, v in layer.items()} for layer in self.case.layers]
        ranges: Any = None
        if int8:
            quantized = [quantize_layer(layer, "int8_mode1") for layer in layers]
            layers = [weights for weights, _ in quantized]
            ranges = (abi.LayerRanges * len(layers))(
                *[
                    abi.LayerRanges(
                        *[numbers.get(name, 1.0) for name in abi.RANGE_NAMES], *[kernels[n].ctypes.data for n in abi.KERNEL_NAMES]
                    )
                    for numbers, (_, kernels) in zip(self.case.ranges(), quantized)
                ]
            )
        layers = [{name: np.ascontiguousarray(value) for name, value in layer.items()} for layer in layers]
        weights = (abi.LayerWeights * len(layers))(
            *[abi.LayerWeights(*[layer[name].ctypes.data for name in abi.WEIGHT_NAMES]) for layer in layers]
        )
        count, heads, size, inner = MODELS[self.case.model]
        config = _Config(count, heads, size, inner, abi.DTYPES[dtype], abi.QUANTIZATIONS["int8_mode1" if int8 else "none"])
        error, created = ctypes.create_string_buffer(1024), ctypes.c_void_p()
        self.check(
            self.library.fastbert_cpu_create(
                ctypes.byref(config), weights, ranges, self.threads, ctypes.byref(created), error, ctypes.c_size_t(len(error))
            ),
            error,
        )
        self.encoders[precision] = created
        return created

    def prepare(self, name: str, row: Row) -> Callable[[], np.ndarray]:
        precision = name.split()[-1]
        encoder = self.encoder(precision)
        inputs = store(self.case.input(row), "float32" if precision == "int8" else precision)
        output = np.empty_like(inputs)
        lengths = np.array(row.lengths, np.int32)
        error = ctypes.create_string_buffer(1024)

        def run() -> np.ndarray:
            status = self.library.fastbert_cpu_run(
                encoder,
                ctypes.c_void_p(inputs.ctypes.data),
                ctypes.c_void_p(output.ctypes.data),
                row.batch,
                row.seq_len,
                ctypes.c_void_p(lengths.ctypes.data),
                error,
                ctypes.c_size_t(len(error)),
            )
            self.check(status, error)
            return to_float32(output)

        return run
