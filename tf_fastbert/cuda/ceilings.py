"""What this GPU reaches in one large matrix product and in a copy: the ceilings that times are compared with. Best rounds."""

from __future__ import annotations

import ctypes
import dataclasses
import pathlib
import sys

import numpy as np

from tf_fastbert.cuda.driver import Gpu

_SIZE = 8192
_COPY_BYTES = 1 << 30
_TYPES = {"float32": 0, "tf32": 0, "float16": 2, "bfloat16": 14}  # cudaDataType
_COMPUTE_32F, _COMPUTE_32F_FAST_TF32 = 68, 77  # cublasComputeType_t
_DEFAULT_ALGORITHM = -1


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """flops: of a product, per second. bytes: of a device-to-device copy, read and written, per second."""

    flops: float
    bytes: float

    def milliseconds(self, flops: float, moved: float) -> float:
        """The least time for that many operations and bytes, if both go at once."""
        return 1e3 * max(flops / self.flops, moved / self.bytes)


def load_cublas() -> ctypes.CDLL:
    """cuBLAS 13 or 12: where the loader finds it, in CUDA's usual folders, or in NVIDIA's packages.

    Raises:
      OSError: nowhere.
    """
    for number in (13, 12):
        name = f"libcublas.so.{number}"
        folders = [pathlib.Path("/usr/local/cuda/lib64")]
        for entry in sys.path:
            nvidia = pathlib.Path(entry or ".") / "nvidia"
            folders += [nvidia / f"cu{number}" / "lib", nvidia / "cublas" / "lib"]
        for path in [name, *(str(folder / name) for folder in folders if (folder / name).is_file())]:
            try:
                return ctypes.CDLL(path)
            except OSError:
                continue
    raise OSError("cuBLAS was not found: put libcublas.so.13 or .12 into LD_LIBRARY_PATH, or pip install nvidia-cublas")


def _product_flops(gpu: Gpu, dtype: str) -> float:
    """Operations per second of an 8192^3 product of random numbers (zeros need less power and run faster)."""
    cublas = load_cublas()

    def check(code: int, what: str) -> None:
        if code != 0:
            raise RuntimeError(f"{what} returned {code}")

    handle = ctypes.c_void_p()
    check(cublas.cublasCreate_v2(ctypes.byref(handle)), "cublasCreate")
    check(cublas.cublasSetStream_v2(handle, gpu.stream), "cublasSetStream")
    values = np.random.default_rng(0).standard_normal((1024, _SIZE), np.float32)
    if dtype == "bfloat16":
        values = (values.view(np.uint32) >> 16).astype(np.uint16)
    elif dtype == "float16":
        values = values.astype(np.float16)
    matrix = np.tile(values, (_SIZE // 1024, 1))
    a, b, c = gpu.upload(matrix), gpu.upload(matrix[::-1]), gpu.empty(matrix.nbytes)
    one, zero = ctypes.c_float(1.0), ctypes.c_float(0.0)
    size, kind = ctypes.c_int(_SIZE), ctypes.c_int(_TYPES[dtype])
    compute = ctypes.c_int(_COMPUTE_32F_FAST_TF32 if dtype == "tf32" else _COMPUTE_32F)

    def multiply() -> None:
        code = cublas.cublasGemmEx(
            handle, ctypes.c_int(0), ctypes.c_int(0), size, size, size, ctypes.byref(one), ctypes.c_uint64(a.address), kind, size,
            ctypes.c_uint64(b.address), kind, size, ctypes.byref(zero), ctypes.c_uint64(c.address), kind, size, compute,
            ctypes.c_int(_DEFAULT_ALGORITHM),
        )  # fmt: skip
        check(code, "cublasGemmEx")

    milliseconds = gpu.least_ms(multiply)
    cublas.cublasDestroy_v2(handle)
    return 2.0 * _SIZE**3 / (1e-3 * milliseconds)


def measure(gpu: Gpu, dtype: str) -> Ceilings:
    """dtype: "float16", "bfloat16", "float32" or "tf32". Takes about two seconds.

    Raises:
      OSError: there is no cuBLAS.
    """
    flops = _product_flops(gpu, dtype)
    source, destination = gpu.empty(_COPY_BYTES, 0), gpu.empty(_COPY_BYTES, 0)
    milliseconds = gpu.least_ms(lambda: gpu.copy(destination, source, _COPY_BYTES))
    return Ceilings(flops, 2.0 * _COPY_BYTES / (1e-3 * milliseconds))
