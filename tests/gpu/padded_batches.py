"""Padding for tests of the layers around the encoder through the C ABI."""

from __future__ import annotations

from typing import Any

import torch


def make_padding(batch: int, seq_len: int, kind: str) -> tuple[dict[str, Any], torch.Tensor]:
    """What to pass to the C ABI's wrappers for padding, and which rows are valid: bool [batch, seq_len] on the CPU.

    kind: "none", "lengths", or "holes" (a mask).
    """
    lengths = torch.randint(0, seq_len + 1, (batch,), generator=torch.Generator().manual_seed(1)).tolist()
    valid = torch.arange(seq_len)[None, :] < torch.tensor(lengths)[:, None]
    if kind == "none":
        return {}, torch.ones_like(valid)
    if kind == "lengths":
        return {"lengths": lengths}, valid
    valid &= torch.rand(batch, seq_len, generator=torch.Generator().manual_seed(2)) < 0.7
    return {"mask": 3 * valid.to(torch.int32)}, valid
