"""Times cuBLASLt's algorithms for a model's products over a range of token counts; the result is a table for gemm_tables.py."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Sequence

from tf_fastbert.cuda import abi
from tf_fastbert.cuda.driver import Gpu
from tf_fastbert.cuda.encoder import EncoderConfig, GpuEncoder, random_layers


def bucket_ends(max_tokens: int) -> list[int]:
    """The largest token count of each range that shares an algorithm (cuda/gemm_bucket.h), up to that with max_tokens in it."""
    ends = [16]
    while ends[-1] < max_tokens:
        power = 1 << (ends[-1].bit_length() - 1)
        ends.append(ends[-1] + max(16, power // 4))
    return ends


def tune(
    gpu: Gpu, config: EncoderConfig, token_counts: Sequence[int], progress: Callable[[int], None] = lambda tokens: None
) -> str:
    """The table of all products of `config`, tuned for each of the token counts. Anything else on the GPU would be noise."""
    encoder = GpuEncoder(gpu, config, random_layers(config))
    for tokens in token_counts:
        progress(tokens)
        encoder.tune(tokens)
    return abi.tuned_table(encoder.handle)


def used_entries(gpu: Gpu, config: EncoderConfig, text: str) -> int:
    """How many entries of a table this GPU, this cuBLASLt and this model take.

    Raises:
      abi.FastBertError: the table is damaged.
    """
    abi.load_tuned_table(text)
    encoder = GpuEncoder(gpu, config, random_layers(config))
    return count_entries(abi.tuned_table(encoder.handle))


def count_entries(text: str) -> int:
    return sum(line.startswith("gemm ") for line in text.splitlines())


def measured_with(text: str) -> list[tuple[str, str]]:
    """(GPU, version of cuBLASLt) of each table in a text."""
    gpus = [line[4:] for line in text.splitlines() if line.startswith("gpu ")]
    versions = [line.split()[1] for line in text.splitlines() if line.startswith("cublaslt ")]
    return list(zip(gpus, versions))


def table_name(gpu_name: str, config: EncoderConfig) -> str:
    """A file name that says what is in it; the same model on the same GPU replaces its file."""
    kind = "tf32" if config.precision == "tf32" else config.dtype
    gpu = re.sub(r"[^A-Za-z0-9]+", "_", gpu_name).strip("_")
    return f"{gpu}_h{config.hidden_size}_i{config.inner_size}_{config.activation}_{kind}.txt"


def write_table(path: pathlib.Path, text: str) -> None:
    """Writes the whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text)
    new.replace(path)
