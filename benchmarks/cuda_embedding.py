"""fastbert_cuda_embed of the C ABI (cuda/fastbert_cuda.h) from Python: ctypes and PyTorch tensors, no TensorFlow."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch

from benchmarks.cuda_encoder import DTYPES, run_layer


class _Call(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("input_ids", "token_type_ids", "word", "position", "token_type", "gamma", "beta")],
        ("output", ctypes.c_void_p),
        *[(name, ctypes.c_int32) for name in ("batch", "seq_len", "hidden_size", "vocab_size", "num_token_types")],
        ("epsilon", ctypes.c_float),
        ("dtype", ctypes.c_int32),
        ("sequence_length", ctypes.c_void_p),
        ("mask", ctypes.c_void_p),
    ]


def embed(
    input_ids: torch.Tensor,
    token_type_ids: torch.Tensor,
    word: torch.Tensor,
    position: torch.Tensor,
    token_type: torch.Tensor,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    output: torch.Tensor,
    *,
    lengths: Sequence[int] | None = None,
    mask: torch.Tensor | None = None,
    epsilon: float = 1e-12,
) -> None:
    """Queues the embedding layer on the current stream.

    input_ids, token_type_ids: int32 [B, S] in host memory; word [V, H], position [at least S, H], token_type [Y, H], gamma, beta
    [H] and output [B, S, H] on the GPU, of one type; lengths: B numbers; mask: int32 [B, S] in host memory. Raises FastBertError.
    """
    c_lengths = None if lengths is None else (ctypes.c_int32 * len(lengths))(*lengths)
    call = _Call(
        *[t.data_ptr() for t in (input_ids, token_type_ids, word, position, token_type, gamma, beta, output)],
        *input_ids.shape,
        word.shape[1],
        word.shape[0],
        token_type.shape[0],
        epsilon,
        DTYPES[word.dtype],
        None if c_lengths is None else ctypes.addressof(c_lengths),
        None if mask is None else mask.data_ptr(),
    )
    run_layer("fastbert_cuda_embed", call)
