"""GPU memory, one stream, events and graphs through the CUDA driver's API (libcuda.so.1): no toolkit, no framework.

Everything runs in the device's primary context, which the CUDA runtime inside our library shares; a driver's stream is a
cudaStream_t.
"""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable

import numpy as np

from tf_fastbert.cuda.event_times import timed_bursts, timed_rounds

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_RELAXED = 2  # CU_STREAM_CAPTURE_MODE_RELAXED
_CAPABILITY_MAJOR, _CAPABILITY_MINOR, _MULTIPROCESSORS = 75, 76, 16  # CU_DEVICE_ATTRIBUTE_...

Work = Callable[[], object]


class CudaError(RuntimeError):
    """A call of the driver failed, or there is no driver or GPU."""


def device_count() -> int:
    """The number of GPUs that the driver shows; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    return count.value if driver.cuInit(ctypes.c_uint(0)) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


class Buffer:
    """Device memory, freed with the object. `address` is the device pointer."""

    def __init__(self, gpu: Gpu, size: int):
        self.gpu, self.size = gpu, size
        pointer = ctypes.c_uint64()
        gpu.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)))
        self.address: int = pointer.value

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            self.gpu.driver.cuMemFree_v2(ctypes.c_uint64(self.address))


class Graph:
    """A captured CUDA graph; calling it queues a replay."""

    def __init__(self, gpu: Gpu, executable: ctypes.c_void_p):
        self.gpu, self.executable = gpu, executable

    def __call__(self) -> None:
        self.gpu.call("cuGraphLaunch", self.executable, self.gpu.stream)

    def __del__(self) -> None:
        self.gpu.driver.cuGraphExecDestroy(self.executable)


class Gpu:
    """One GPU with a stream of its own, made current in the calling thread.

    Attributes:
      name: "NVIDIA H100 80GB HBM3"; capability: (9, 0); multiprocessors; driver_version: (13, 0), the CUDA version of the driver.
      stream: the stream as a ctypes pointer; stream.value is what the C ABI takes.

    Raises:
      CudaError: no driver, or no such GPU.
    """

    def __init__(self, index: int = 0):
        try:
            self.driver = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise CudaError(f"no CUDA driver here: {error}") from error
        self.call("cuInit", ctypes.c_uint(0))
        device, context, self.stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(index))
        self._device = device
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.call("cuStreamCreate", ctypes.byref(self.stream), ctypes.c_uint(_NON_BLOCKING))
        text = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", text, ctypes.c_int(256), device)
        self.name = text.value.decode()
        self.capability = (self._attribute(_CAPABILITY_MAJOR), self._attribute(_CAPABILITY_MINOR))
        self.multiprocessors = self._attribute(_MULTIPROCESSORS)
        version = ctypes.c_int()
        self.call("cuDriverGetVersion", ctypes.byref(version))
        self.driver_version = (version.value // 1000, version.value % 1000 // 10)
        self._events: list[ctypes.c_void_p] = [ctypes.c_void_p(), ctypes.c_void_p()]
        for event in self._events:
            self.call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(0))

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self._device)
        return value.value

    def call(self, name: str, *arguments: object) -> None:
        """Calls a function of the driver. Raises CudaError with the function's and the error's name."""
        code = getattr(self.driver, name)(*arguments)
        if code != 0:
            text = ctypes.c_char_p()
            self.driver.cuGetErrorName(ctypes.c_int(code), ctypes.byref(text))
            raise CudaError(f"{name}: {(text.value or b'error %d' % code).decode()}")

    # ---- memory ----

    def empty(self, size: int, byte: int | None = None) -> Buffer:
        """`size` bytes; all of them `byte` if that is given."""
        buffer = Buffer(self, size)
        if byte is not None:
            self.fill(buffer, byte)
        return buffer

    def fill(self, buffer: Buffer, byte: int) -> None:
        """Queues setting every byte."""
        self.call(
            "cuMemsetD8Async", ctypes.c_uint64(buffer.address), ctypes.c_ubyte(byte), ctypes.c_size_t(buffer.size), self.stream
        )

    def upload(self, array: np.ndarray) -> Buffer:
        """A buffer with the array's bytes; waits for the copy."""
        array = np.ascontiguousarray(array)
        buffer = Buffer(self, array.nbytes)
        self.call(
            "cuMemcpyHtoD_v2", ctypes.c_uint64(buffer.address), ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
        )
        self.call("cuStreamSynchronize", None)  # it returns when the array may be freed; our stream does not wait for the rest
        return buffer

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
        """Waits for the stream and copies the buffer's beginning into a new array."""
        self.synchronize()
        array = np.empty(shape, dtype)
        self.call(
            "cuMemcpyDtoH_v2", ctypes.c_void_p(array.ctypes.data), ctypes.c_uint64(buffer.address), ctypes.c_size_t(array.nbytes)
        )
        return array

    def copy(self, destination: Buffer, source: Buffer, size: int) -> None:
        """Queues a copy between two buffers."""
        self.call(
            "cuMemcpyDtoDAsync_v2",
            ctypes.c_uint64(destination.address),
            ctypes.c_uint64(source.address),
            ctypes.c_size_t(size),
            self.stream,
        )

    # ---- work and time ----

    def synchronize(self) -> None:
        """Waits for all that was queued on the stream."""
        self.call("cuStreamSynchronize", self.stream)

    def capture(self, run: Work) -> Graph:
        """Runs `run` once, then captures a CUDA graph of what it queues."""
        run()
        self.synchronize()
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuStreamBeginCapture_v2", self.stream, ctypes.c_int(_RELAXED))
        try:
            run()
        finally:
            self.call("cuStreamEndCapture", self.stream, ctypes.byref(graph))
        self.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        self.call("cuGraphDestroy", graph)
        return Graph(self, executable)

    def event_ms(self, run: Work, calls: int = 1) -> float:
        """Milliseconds of one call, by events around `calls` of them."""
        begin, end = self._events
        self.call("cuEventRecord", begin, self.stream)
        for _ in range(calls):
            run()
        self.call("cuEventRecord", end, self.stream)
        self.call("cuEventSynchronize", end)
        milliseconds = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(milliseconds), begin, end)
        return milliseconds.value / calls

    def median_ms(self, run: Work) -> float:
        """Median over rounds of a few calls each, after a warm-up: see timed_rounds."""
        return statistics.median(timed_rounds(lambda calls: self.event_ms(run, calls)))

    def burst_ms(self, run: Work) -> float:
        """The same of a few calls after a rest: see timed_bursts."""
        return statistics.median(timed_bursts(run, lambda calls: self.event_ms(run, calls)))

    def least_ms(self, run: Work) -> float:
        """The fastest of median_ms's rounds: for what the GPU can do at best."""
        return min(timed_rounds(lambda calls: self.event_ms(run, calls)))
