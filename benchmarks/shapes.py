"""The models and the lengths that all our measurements use, so that their tables can be compared."""

from __future__ import annotations

import argparse

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


# BERT's usual batches, and what the encoder is to reach on an H100 with padding removed: (batch, seq_len) -> milliseconds.
ROWS = ((1, 32), (1, 128), (1, 384), (8, 32), (8, 128), (8, 384), (32, 128), (32, 384), (128, 128), (128, 384))
TARGETS = {
    ("base", "float16"): dict(zip(ROWS, (0.25, 0.26, 0.32, 0.30, 0.42, 0.75, 0.88, 2.20, 2.85, 8.60))),
    ("large", "float16"): {(1, 128): 0.60, (8, 384): 2.00, (32, 384): 7.40, (128, 384): 28.5},
}


def parse_rows(text: str) -> list[tuple[int, int]]:
    """Batches as on a command line: "1x32,8x128" -> [(1, 32), (8, 128)]. Raises argparse.ArgumentTypeError."""
    rows = []
    for part in text.split(","):
        batch, times, seq_len = part.strip().partition("x")
        if not (times and batch.isdigit() and seq_len.isdigit() and int(batch) > 0 and int(seq_len) > 0):
            raise argparse.ArgumentTypeError(f"{part!r} is not BATCHxLENGTH, such as 8x128")
        rows.append((int(batch), int(seq_len)))
    return rows
