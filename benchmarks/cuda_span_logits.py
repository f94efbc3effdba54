"""fastbert_cuda_span_logits of the C ABI (cuda/fastbert_cuda.h) from Python: ctypes and PyTorch tensors, no TensorFlow."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from benchmarks.cuda_encoder import DTYPES, run_layer


class _Call(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("hidden_states", "weights", "bias", "start_logits", "end_logits")],
        *[(name, ctypes.c_int32) for name in ("batch", "seq_len", "hidden_size", "dtype", "weights_dtype")],
        ("padding", ctypes.c_float),
        ("sequence_length", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
    ]


def span_logits(
    hidden_states: torch.Tensor,
    weights: torch.Tensor,
    bias: torch.Tensor,
    start_logits: torch.Tensor,
    end_logits: torch.Tensor,
    *,
    padding: float,
    lengths: Sequence[int] | None = None,
    mask: torch.Tensor | None = None,
) -> None:
    """Queues the head of a question-answering BERT on the current stream.

    hidden_states [B, S, H], weights [2, H] and bias [2] on the GPU, the last two of one type; start_logits and end_logits: float32
    [B, S] there too; lengths: B numbers; mask: int32 [B, S] in host memory. Raises FastBertError.
    """
    c_lengths = None if lengths is None else (ctypes.c_int32 * len(lengths))(*lengths)
    call = _Call(
        *[t.data_ptr() for t in (hidden_states, weights, bias, start_logits, end_logits)],
        *hidden_states.shape,
        DTYPES[hidden_states.dtype],
        DTYPES[weights.dtype],
        padding,
        None if c_lengths is None else ctypes.addressof(c_lengths),
        None if mask is None else mask.data_ptr(),
    )
    run_layer("fastbert_cuda_span_logits", call)
