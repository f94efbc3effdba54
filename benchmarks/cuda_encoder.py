"""The CUDA encoder's C ABI (cuda/fastbert_cuda.h) from Python: ctypes and PyTorch tensors, no TensorFlow.

Used by the benchmarks and by tests/gpu. Which library: see tf_fastbert/cuda/abi.py.
"""

from __future__ import annotations

import ctypes
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from tf_fastbert.cuda.abi import (  # noqa: E402
    ACTIVATIONS,
    KERNEL_NAMES,
    KERNELS,
    LAYER_NORMS,
    PRECISIONS,
    QUANTIZATIONS,
    RANGE_NAMES,
    WEIGHT_NAMES,
    Call,
    Config,
    FastBertError,
    LayerRanges,
    LayerWeights,
    check,
    library,
    library_path,
    load_tuned_table,
    tuned_table,
    weight_shape,
)

__all__ = [
    "CudaEncoder",
    "EncoderConfig",
    "FastBertError",
    "PackedWeights",
    "WEIGHT_NAMES",
    "library_path",
    "load_tuned_table",
    "random_layers",
    "reference",
    "run_layer",
]

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}


def run_layer(function: str, call: ctypes.Structure) -> None:
    """Queues a layer around the encoder, a function of the C ABI with a structure and a stream, on the current stream.

    Raises FastBertError.
    """
    run = getattr(library(), function)
    run.restype, run.argtypes = ctypes.c_int32, [ctypes.c_void_p, ctypes.c_void_p]
    check(run(ctypes.addressof(call), torch.cuda.current_stream().cuda_stream))


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """What FastBertConfig holds; `dtype` is a torch dtype, the rest in words."""

    num_layers: int
    num_heads: int
    size_per_head: int
    inner_size: int
    dtype: torch.dtype = torch.float16
    activation: str = "gelu_tanh"
    layer_norm: str = "post"
    precision: str = "default"
    all_layers: bool = False
    epsilon: float = 1e-12
    quantization: str = "none"
    min_quantized_rows: int = 0

    @property
    def hidden_size(self) -> int:
        return self.num_heads * self.size_per_head

    def weight_shape(self, name: str) -> tuple[int, ...]:
        return weight_shape(name, self.hidden_size, self.inner_size)


def _stream() -> int:
    return torch.cuda.current_stream().cuda_stream


def _ranges_struct(ranges: dict[str, float | torch.Tensor]) -> tuple[LayerRanges, list]:
    """One layer's ranges, and what must live as long as the struct."""
    arrays = [ranges[name].to(torch.float32).cpu().contiguous() for name in KERNEL_NAMES]
    return LayerRanges(*[float(ranges[name]) for name in RANGE_NAMES], *[array.data_ptr() for array in arrays]), arrays


class PackedWeights:
    """Weights packed on the current stream. Keeps the source tensors, which the C ABI needs unchanged, and the buffer.

    ranges: for an encoder with quantization, one dict a layer: a number by each of RANGE_NAMES and a float32 tensor, a value for
    each output channel, by each of KERNEL_NAMES.
    """

    def __init__(
        self,
        encoder: CudaEncoder,
        layers: Sequence[dict[str, torch.Tensor]],
        buffer: torch.Tensor | None = None,
        ranges: Sequence[dict[str, float | torch.Tensor]] | None = None,
    ):
        self.layers = layers
        self.buffer = torch.empty(encoder.packed_bytes(), dtype=torch.uint8, device="cuda") if buffer is None else buffer
        structs = (LayerWeights * len(layers))(
            *[LayerWeights(*[layer[name].data_ptr() for name in WEIGHT_NAMES]) for layer in layers]
        )
        self.handle = ctypes.c_void_p()
        if ranges is None:
            check(
                library().fastbert_cuda_pack_weights(
                    encoder.handle, structs, self.buffer.data_ptr(), _stream(), ctypes.byref(self.handle)
                )
            )
        else:
            made = [_ranges_struct(r) for r in ranges]
            c_ranges = (LayerRanges * len(layers))(*[struct for struct, _ in made])
            check(
                library().fastbert_cuda_pack_quantized_weights(
                    encoder.handle, structs, c_ranges, self.buffer.data_ptr(), _stream(), ctypes.byref(self.handle)
                )
            )

    def __del__(self):
        if getattr(self, "handle", None):
            library().fastbert_cuda_free_weights(self.handle)


class CudaEncoder:
    """An encoder for the current CUDA device."""

    def __init__(self, config: EncoderConfig):
        self.config = config
        c = Config(
            config.num_layers,
            config.num_heads,
            config.size_per_head,
            config.inner_size,
            config.epsilon,
            ACTIVATIONS[config.activation],
            LAYER_NORMS[config.layer_norm],
            DTYPES[config.dtype],
            PRECISIONS[config.precision],
            int(config.all_layers),
            QUANTIZATIONS[config.quantization],
            config.min_quantized_rows,
        )
        self.handle = ctypes.c_void_p()
        check(library().fastbert_cuda_create(ctypes.byref(c), ctypes.byref(self.handle)))

    def __del__(self):
        if getattr(self, "handle", None):
            library().fastbert_cuda_destroy(self.handle)

    def packed_bytes(self) -> int:
        return library().fastbert_cuda_packed_bytes(self.handle)

    def workspace_bytes(self, batch: int, seq_len: int, num_tokens: int, remove_padding: bool = True) -> int:
        return library().fastbert_cuda_workspace_bytes(self.handle, batch, seq_len, num_tokens, int(remove_padding))

    def runs_quantized(self, num_rows: int) -> bool:
        return bool(library().fastbert_cuda_runs_quantized(self.handle, num_rows))

    def choose_kernels(self, kernels: str) -> None:
        """From now on forward uses one of KERNELS (see fastbert_cuda.h)."""
        check(library().fastbert_cuda_choose_kernels(self.handle, KERNELS[kernels]))

    def tune(self, weights: PackedWeights, num_tokens: int) -> None:
        """Times the products' algorithms for that many rows and keeps the fastest; waits for the current stream."""
        size = self.workspace_bytes(1, num_tokens, num_tokens)
        workspace = torch.empty(size, dtype=torch.uint8, device="cuda")
        check(library().fastbert_cuda_tune(self.handle, weights.handle, num_tokens, workspace.data_ptr(), size, _stream()))

    def tuned_table(self) -> str:
        """See tf_fastbert.cuda.abi.tuned_table."""
        return tuned_table(self.handle)

    def forward(
        self,
        weights: PackedWeights,
        inputs: torch.Tensor,
        output: torch.Tensor,
        workspace: torch.Tensor,
        *,
        lengths: Sequence[int] | None = None,
        mask: torch.Tensor | None = None,
        remove_padding: bool = True,
        workspace_bytes: int | None = None,
    ) -> None:
        """Queues one pass on the current stream.

        inputs: [B, S, H] on the GPU; output: [B, S, H], or [L, B, S, H]; workspace: uint8, at least workspace_bytes(...) long;
        lengths: B numbers; mask: int32 [B, S] in host memory. Raises FastBertError.
        """
        c_lengths = None if lengths is None else (ctypes.c_int32 * len(lengths))(*lengths)
        call = Call(
            inputs.data_ptr(),
            output.data_ptr(),
            inputs.shape[0],
            inputs.shape[1],
            None if c_lengths is None else ctypes.addressof(c_lengths),
            None if mask is None else mask.data_ptr(),
            int(remove_padding),
        )
        size = workspace.numel() if workspace_bytes is None else workspace_bytes
        check(
            library().fastbert_cuda_forward(
                self.handle, weights.handle, ctypes.byref(call), workspace.data_ptr(), size, _stream()
            )
        )


def random_layers(config: EncoderConfig, generator: torch.Generator) -> list[dict[str, torch.Tensor]]:
    """Weights of such a scale that activations stay near one, on the GPU, in the config's dtype."""
    layers = []
    for _ in range(config.num_layers):
        layer = {}
        for name in WEIGHT_NAMES:
            values = torch.randn(config.weight_shape(name), generator=generator, device="cuda")
            if name.endswith("kernel"):
                values = values / values.shape[0] ** 0.5
            elif name.endswith("gamma"):
                values = 1.0 + 0.1 * values
            else:
                values = 0.1 * values
            layer[name] = values.to(config.dtype)
        layers.append(layer)
    return layers


def reference(
    config: EncoderConfig,
    layers: Sequence[dict[str, torch.Tensor]],
    inputs: torch.Tensor,
    mask: torch.Tensor,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """BERT's encoder in plain PyTorch: [B, S, H] or [L, B, S, H], zero where mask [B, S] is zero."""
    valid = mask.to(inputs.device) != 0
    x = torch.where(valid[..., None], inputs.to(dtype), torch.zeros((), dtype=dtype, device=inputs.device))
    batch, seq_len, hidden = x.shape
    bias = torch.where(valid, 0.0, float("-inf")).to(dtype)[:, None, None, :]
    bias = torch.where(valid.any(1)[:, None, None, None], bias, torch.zeros_like(bias))

    def norm(y, w, name):
        return torch.nn.functional.layer_norm(y, (hidden,), w[name + "_gamma"], w[name + "_beta"], config.epsilon)

    def heads(y):
        return y.view(batch, seq_len, config.num_heads, config.size_per_head).transpose(1, 2)

    def attention(y, w):
        q, k, v = (heads(y @ w[n + "_kernel"] + w[n + "_bias"]) for n in ("query", "key", "value"))
        p = torch.softmax(q @ k.transpose(2, 3) / config.size_per_head**0.5 + bias, dim=-1)
        context = (p @ v).transpose(1, 2).reshape(batch, seq_len, hidden)
        return context @ w["attention_output_kernel"] + w["attention_output_bias"]

    def feed_forward(y, w):
        y = y @ w["intermediate_kernel"] + w["intermediate_bias"]
        if config.activation == "relu":
            y = torch.relu(y)
        else:
            y = torch.nn.functional.gelu(y, approximate="tanh" if config.activation == "gelu_tanh" else "none")
        return y @ w["output_kernel"] + w["output_bias"]

    outputs = []
    for layer in layers:
        w = {name: tensor.to(dtype) for name, tensor in layer.items()}
        if config.layer_norm == "post":
            x = norm(x + attention(x, w), w, "attention_layer_norm")
            x = norm(x + feed_forward(x, w), w, "output_layer_norm")
        else:
            x = x + attention(norm(x, w, "attention_layer_norm"), w)
            x = x + feed_forward(norm(x, w, "output_layer_norm"), w)
        outputs.append(torch.where(valid[..., None], x, torch.zeros_like(x)))
    return torch.stack(outputs) if config.all_layers else outputs[-1]
