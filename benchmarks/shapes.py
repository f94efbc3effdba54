"""The models and the lengths that all our measurements use, so that their tables can be compared."""

from __future__ import annotations

import argparse
import pathlib

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


def parse_lengths(path: str) -> list[int]:
    """A file's lengths, one a line, as on a command line. Raises argparse.ArgumentTypeError with the line that is none."""
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not (line.strip().isdigit() and int(line) > 0):
            raise argparse.ArgumentTypeError(f"{path}, line {number}: {line!r} is not a length (a whole number of at least 1)")
    if not lines:
        raise argparse.ArgumentTypeError(f"{path} is empty")
    return [int(line) for line in lines]


def sample_lengths(lengths: list[int], batch: int, seq_len: int) -> list[int]:
    """A batch like the whole: the lengths at `batch` evenly spaced ranks, none above seq_len."""
    ranked = sorted(lengths)
    return [min(seq_len, ranked[len(ranked) * (2 * b + 1) // (2 * batch)]) for b in range(batch)]


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
