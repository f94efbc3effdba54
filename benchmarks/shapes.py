"""The models and the lengths that all our measurements use, so that their tables can be compared."""

from __future__ import annotations

MODELS = {  # layers, heads, size per head, inner size
    "base": (12, 12, 64, 3072),
    "large": (24, 16, 64, 4096),
    "minilm": (6, 12, 32, 1536),
}


def spread_lengths(batch: int, seq_len: int) -> list[int]:
    """Valid tokens of each sequence: spread evenly from S / 8 to S - S / 8, or S / 2 for one; about half is padding."""
    if batch == 1:
        return [max(1, seq_len // 2)]
    first, last = max(1, seq_len // 8), seq_len - seq_len // 8
    return [round(first + (last - first) * b / (batch - 1)) for b in range(batch)]
