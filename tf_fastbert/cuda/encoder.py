"""An encoder with its weights on the GPU, through the C ABI and the CUDA driver."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tf_fastbert.cuda import abi
from tf_fastbert.cuda.driver import Buffer, Gpu

STORAGE = {"float32": np.float32, "float16": np.float16, "bfloat16": np.uint16}  # NumPy has no bfloat16: its bits


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """What FastBertConfig holds, in words; see abi.DTYPES, ACTIVATIONS, LAYER_NORMS, PRECISIONS and QUANTIZATIONS."""

    num_layers: int
    num_heads: int
    size_per_head: int
    inner_size: int
    dtype: str = "float16"
    activation: str = "gelu_tanh"
    layer_norm: str = "post"
    precision: str = "default"
    all_layers: bool = False
    epsilon: float = 1e-12
    quantization: str = "none"

    @property
    def hidden_size(self) -> int:
        return self.num_heads * self.size_per_head

    @property
    def bytes_per_value(self) -> int:
        return 4 if self.dtype == "float32" else 2

    def as_struct(self) -> abi.Config:
        return abi.Config(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            size_per_head=self.size_per_head,
            inner_size=self.inner_size,
            epsilon=self.epsilon,
            activation=abi.ACTIVATIONS[self.activation],
            layer_norm=abi.LAYER_NORMS[self.layer_norm],
            dtype=abi.DTYPES[self.dtype],
            precision=abi.PRECISIONS[self.precision],
            all_layers=int(self.all_layers),
            quantization=abi.QUANTIZATIONS[self.quantization],
        )


def random_layers(config: EncoderConfig, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Weights of such a scale that activations stay near one, as STORAGE[dtype]; the same in each layer: good enough to time."""
    rng = np.random.default_rng(seed)
    layer = {}
    for name in abi.WEIGHT_NAMES:
        shape = abi.weight_shape(name, config.hidden_size, config.inner_size)
        values = rng.standard_normal(shape, np.float32) * (shape[0] ** -0.5 if len(shape) == 2 else 0.1)
        values = values + np.float32(name.endswith("gamma"))
        if config.dtype == "bfloat16":
            layer[name] = (values.view(np.uint32) >> 16).astype(np.uint16)
        else:
            layer[name] = values.astype(STORAGE[config.dtype])
    return [layer] * config.num_layers


def quantize_layer(layer: Mapping[str, np.ndarray], quantization: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A layer's weights for a quantized encoder, and its kernels' ranges, float32 [output channels] by abi.KERNEL_NAMES.

    Int8 modes: kernels in int8, mode 1 with a range for each output channel, mode 2 with one. FP8: kernels as they are.

    Args:
      layer: float16 or float32 arrays by abi.WEIGHT_NAMES.
    """
    weights, ranges = dict(layer), {}
    for name in abi.KERNEL_NAMES:
        kernel = layer[name].astype(np.float32)
        largest = np.abs(kernel).max(axis=0)
        ranges[name] = largest if quantization == "int8_mode1" else np.full_like(largest, largest.max())
        if quantization != "fp8":
            scaled = kernel * (127 / ranges[name])
            weights[name] = np.clip(np.copysign(np.floor(np.abs(scaled) + 0.5), scaled), -127, 127).astype(np.int8)
    return weights, ranges


class Batch:
    """One shape with its input, output and workspace on the GPU; what forward, tune and profile run on."""

    def __init__(self, encoder: GpuEncoder, inputs: np.ndarray, lengths: Sequence[int] | None, remove_padding: bool):
        """inputs: [B, S, H] as STORAGE[dtype]; lengths: B numbers, or None for S each."""
        batch, seq_len, _ = inputs.shape
        gpu, layers = encoder.gpu, encoder.config.num_layers if encoder.config.all_layers else 1
        tokens = batch * seq_len if lengths is None else sum(lengths)
        self._lengths = None if lengths is None else (ctypes.c_int32 * batch)(*lengths)
        self.shape = inputs.shape if layers == 1 else (layers, *inputs.shape)
        self.inputs = gpu.upload(inputs)
        self.output = gpu.empty(layers * inputs.nbytes, 0xFF)  # NaN until it is written
        self.workspace = gpu.empty(
            abi.library().fastbert_cuda_workspace_bytes(encoder.handle, batch, seq_len, tokens, int(remove_padding))
        )
        self.struct = abi.Call(
            input=self.inputs.address,
            output=self.output.address,
            batch=batch,
            seq_len=seq_len,
            sequence_length=None if self._lengths is None else ctypes.addressof(self._lengths),
            mask=None,
            remove_padding=int(remove_padding),
        )


class GpuEncoder:
    """An encoder for `gpu`.

    Raises:
      abi.FastBertError, driver.CudaError: what the C ABI or the driver refused.
    """

    def __init__(
        self,
        gpu: Gpu,
        config: EncoderConfig,
        layers: Sequence[Mapping[str, np.ndarray]],
        ranges: Sequence[Mapping[str, float]] | None = None,
    ):
        """layers: arrays by abi.WEIGHT_NAMES, as STORAGE[dtype]; ranges: of a quantized encoder, by abi.RANGE_NAMES; what
        is not there is 1."""
        self.gpu, self.config = gpu, config
        library = abi.library()
        self.handle, self.weights = ctypes.c_void_p(), ctypes.c_void_p()
        struct = config.as_struct()
        abi.check(library.fastbert_cuda_create(ctypes.byref(struct), ctypes.byref(self.handle)))
        # The C ABI may go on reading the sources, so they stay.
        kernel_ranges: list[dict[str, np.ndarray]] = []
        if ranges is not None:
            quantized = [quantize_layer(layer, config.quantization) for layer in layers]
            layers, kernel_ranges = [weights for weights, _ in quantized], [kernels for _, kernels in quantized]
        self._buffers: list[dict[str, Buffer]] = [
            {name: gpu.upload(layer[name]) for name in abi.WEIGHT_NAMES} for layer in layers
        ]
        structs = (abi.LayerWeights * len(layers))(
            *[abi.LayerWeights(*[buffers[name].address for name in abi.WEIGHT_NAMES]) for buffers in self._buffers]
        )
        self._packed = gpu.empty(library.fastbert_cuda_packed_bytes(self.handle))
        weights = ctypes.byref(self.weights)
        if ranges is None:
            abi.check(library.fastbert_cuda_pack_weights(self.handle, structs, self._packed.address, gpu.stream, weights))
        else:
            range_structs = (abi.LayerRanges * len(layers))(
                *[
                    abi.LayerRanges(
                        *[numbers.get(name, 1.0) for name in abi.RANGE_NAMES], *[kernels[n].ctypes.data for n in abi.KERNEL_NAMES]
                    )
                    for numbers, kernels in zip(ranges, kernel_ranges)
                ]
            )
            abi.check(
                library.fastbert_cuda_pack_quantized_weights(
                    self.handle, structs, range_structs, self._packed.address, gpu.stream, weights
                )
            )
        gpu.synchronize()

    def __del__(self) -> None:
        if getattr(self, "weights", None):
            abi.library().fastbert_cuda_free_weights(self.weights)
        if getattr(self, "handle", None):
            abi.library().fastbert_cuda_destroy(self.handle)

    def batch(self, inputs: np.ndarray, lengths: Sequence[int] | None = None, remove_padding: bool = True) -> Batch:
        """Puts a batch on the GPU; see Batch."""
        return Batch(self, inputs, lengths, remove_padding)

    def _pass(self, batch: Batch) -> tuple[Any, ...]:
        """What the C ABI's forward and profile both take."""
        workspace = batch.workspace
        return self.handle, self.weights, ctypes.byref(batch.struct), workspace.address, workspace.size, self.gpu.stream

    def forward(self, batch: Batch) -> None:
        """Queues one pass."""
        abi.check(abi.library().fastbert_cuda_forward(*self._pass(batch)))

    def output(self, batch: Batch) -> np.ndarray:
        """The output of the last pass, as STORAGE[dtype]: [B, S, H], or [L, B, S, H]."""
        return self.gpu.download(batch.output, batch.shape, STORAGE[self.config.dtype])

    def choose_kernels(self, kernels: str) -> None:
        """Which kernels passes use from now on: "fastest" (the default), "layers", products and LayerNorms of their own, or "fused",
        LayerNorms in the products' epilogues, where that is supported."""
        abi.check(abi.library().fastbert_cuda_choose_kernels(self.handle, abi.KERNELS[kernels]))

    def tune(self, num_tokens: int) -> None:
        """Times the products' algorithms for about that many tokens and keeps the fastest."""
        library = abi.library()
        workspace = self.gpu.empty(library.fastbert_cuda_workspace_bytes(self.handle, 1, num_tokens, num_tokens, 1))
        abi.check(
            library.fastbert_cuda_tune(self.handle, self.weights, num_tokens, workspace.address, workspace.size, self.gpu.stream)
        )

    def profile(self, batch: Batch) -> list[tuple[str, int, float]]:
        """Runs one pass with an event around each step: (step, layer or -1, milliseconds) in their order.

        Queue other work of a millisecond or two before it, so that the GPU never waits for the host.
        """
        capacity = 16 * self.config.num_layers + 16
        steps, count = (abi.Step * capacity)(), ctypes.c_int32()
        abi.check(abi.library().fastbert_cuda_profile(*self._pass(batch), steps, capacity, ctypes.byref(count)))
        return [(abi.STEP_NAMES[s.kind], s.layer, s.milliseconds) for s in steps[: count.value]]
