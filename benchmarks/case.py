"""What every implementation is given: one model's weights and the batches, as .npy files in a folder that the processes share.

16-bit types are stored as they are, bfloat16 as its bits in uint16, since NumPy has none. The reference is a float64 encoder over
the valid tokens of a few sequences of each batch; no implementation is timed before its output was compared with that.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.shapes import MODELS, sample_lengths, spread_lengths
from tf_fastbert.cuda.abi import WEIGHT_NAMES, weight_shape

STORAGE = {"float32": np.float32, "tf32": np.float32, "float16": np.float16, "bfloat16": np.uint16}
RANGES = ("attention_input", "context", "attention_output_sum", "intermediate_input", "output_input", "output_sum")
# Relative 2-norm of the difference. bfloat16 has 8 bits, and 24 layers of rounding: this only has to tell right from wrong.
LIMITS = {"float32": 1e-4, "tf32": 0.03, "float16": 0.03, "bfloat16": 0.05}


def store(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 values as they are stored; bfloat16 rounds to nearest even."""
    if dtype != "bfloat16":
        return values.astype(STORAGE[dtype])
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def to_float32(stored: np.ndarray) -> np.ndarray:
    """Stored values as float32."""
    if stored.dtype == np.uint16:
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Row:
    """One batch."""

    batch: int
    seq_len: int
    given: tuple[int, ...] | None = None  # lengths that were asked for

    @cached_property
    def lengths(self) -> list[int]:
        return spread_lengths(self.batch, self.seq_len) if self.given is None else list(self.given)

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def checked(self) -> list[int]:
        """The sequences whose output is compared with the reference."""
        return sorted({0, self.batch // 2, self.batch - 1})

    @property
    def name(self) -> str:
        return f"{self.batch}x{self.seq_len}"

    def mask(self) -> np.ndarray:
        """bool [B, S], true where there is a token."""
        return np.arange(self.seq_len)[None, :] < np.array(self.lengths)[:, None]

    def select(self, output: np.ndarray) -> np.ndarray:
        """The checked sequences' tokens [n, H] of an output [B, S, H], or [T, H] without padding."""
        if output.ndim == 3:
            parts = [output[b, : self.lengths[b]] for b in self.checked]
        else:
            ends = np.cumsum(self.lengths)
            parts = [output[ends[b] - self.lengths[b] : ends[b]] for b in self.checked]
        return np.concatenate(parts)


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """2-norm of the difference over the 2-norm of what is wanted; NaN if there is one."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@dataclasses.dataclass(frozen=True)
class Case:
    """A folder with everything; `Case.write` makes it, `Case.read` finds it again in another process."""

    folder: pathlib.Path
    model: str
    dtype: str  # "tf32": float32 whose products may be rounded to TF32
    rows: tuple[Row, ...]
    options: dict[str, Any]  # of the command line, for the workers

    @classmethod
    def write(
        cls,
        folder: pathlib.Path,
        model: str,
        dtype: str,
        rows: list[tuple[int, int]],
        options: dict[str, Any],
        lengths: list[int] | None = None,
    ) -> Case:
        """Draws random weights and inputs, of such a scale that activations stay near one, and computes the references.

        lengths: those that the rows' own are sampled from; None: spread_lengths.
        """
        given = [None if lengths is None else tuple(sample_lengths(lengths, *row)) for row in rows]
        case = cls(folder, model, dtype, tuple(Row(*row, some) for row, some in zip(rows, given)), options)
        rng = np.random.default_rng(0)
        layers, _, _, _ = MODELS[model]
        size = sum(int(np.prod(shape)) for shape in case.weight_shapes().values())
        weights = np.empty((layers, size), STORAGE[dtype])
        for layer in weights:
            at = 0
            for name, shape in case.weight_shapes().items():
                count = int(np.prod(shape))
                scale = shape[0] ** -0.5 if len(shape) == 2 else 0.1
                values = rng.standard_normal(count, np.float32) * np.float32(scale)
                layer[at : at + count] = store(values + np.float32(name.endswith("gamma")), dtype)
                at += count
        np.save(folder / "weights.npy", weights)
        for row in case.rows:
            values = rng.standard_normal((row.batch, row.seq_len, case.hidden_size), np.float32)
            np.save(folder / f"{row.name}_input.npy", store(values, dtype))
        case._write_references()
        job = {"model": model, "dtype": dtype, "rows": rows, "lengths": given, "options": options}
        (folder / "job.json").write_text(json.dumps(job))
        return case

    @classmethod
    def read(cls, folder: pathlib.Path) -> Case:
        job = json.loads((folder / "job.json").read_text())
        rows = [Row(*row, None if some is None else tuple(some)) for row, some in zip(job["rows"], job["lengths"])]
        return cls(folder, job["model"], job["dtype"], tuple(rows), job["options"])

    @property
    def num_heads(self) -> int:
        return MODELS[self.model][1]

    @property
    def size_per_head(self) -> int:
        return MODELS[self.model][2]

    @property
    def hidden_size(self) -> int:
        return self.num_heads * self.size_per_head

    @property
    def inner_size(self) -> int:
        return MODELS[self.model][3]

    @property
    def storage_dtype(self) -> str:
        """The type of weights and activations: float32 for "tf32"."""
        return "float32" if self.dtype == "tf32" else self.dtype

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: weight_shape(name, self.hidden_size, self.inner_size) for name in WEIGHT_NAMES}

    @cached_property
    def layers(self) -> list[dict[str, np.ndarray]]:
        """The weights by name, as they are stored."""
        result = []
        for flat in np.load(self.folder / "weights.npy"):
            layer, at = {}, 0
            for name, shape in self.weight_shapes().items():
                count = int(np.prod(shape))
                layer[name] = flat[at : at + count].reshape(shape)
                at += count
            result.append(layer)
        return result

    def input(self, row: Row) -> np.ndarray:
        """[B, S, H], as it is stored; rows of padding hold numbers too."""
        return np.load(self.folder / f"{row.name}_input.npy")

    def reference(self, row: Row) -> np.ndarray:
        """float64 [n, H]: what Row.select should give."""
        return np.load(self.folder / f"{row.name}_reference.npy")

    def ranges(self) -> list[dict[str, float]]:
        """By layer and name (RANGES): the largest absolute value among the checked sequences of all rows, for quantization."""
        return json.loads((self.folder / "ranges.json").read_text())

    def _write_references(self) -> None:
        outputs = {}
        for row in self.rows:
            inputs = self.input(row)
            outputs[row] = [to_float32(inputs[b, : row.lengths[b]]).astype(np.float64) for b in row.checked]
        ranges = [dict.fromkeys(RANGES, 0.0) for _ in self.layers]
        for layer, largest in zip(self.layers, ranges):
            weights = {name: to_float32(value).astype(np.float64) for name, value in layer.items()}
            outputs = {row: [_layer(x, weights, self.num_heads, largest) for x in xs] for row, xs in outputs.items()}
        (self.folder / "ranges.json").write_text(json.dumps(ranges))
        for row, xs in outputs.items():
            np.save(self.folder / f"{row.name}_reference.npy", np.concatenate(xs))


def _layer(x: np.ndarray, w: dict[str, np.ndarray], num_heads: int, largest: dict[str, float]) -> np.ndarray:
    """One post-LN layer with tanh-GELU over the tokens [n, H] of one sequence; raises `largest` where a value is larger."""

    def seen(name: str, value: np.ndarray) -> np.ndarray:
        largest[name] = max(largest[name], float(np.abs(value).max()))
        return value

    def norm(y: np.ndarray, name: str) -> np.ndarray:
        y = y - y.mean(-1, keepdims=True)
        return y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-12) * w[f"{name}_gamma"] + w[f"{name}_beta"]

    def heads(name: str) -> np.ndarray:
        return (x @ w[f"{name}_kernel"] + w[f"{name}_bias"]).reshape(len(x), num_heads, -1).transpose(1, 0, 2)

    seen("attention_input", x)
    q, k, v = heads("query"), heads("key"), heads("value")
    p = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    p = np.exp(p - p.max(-1, keepdims=True))
    context = seen("context", (p / p.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape))
    y = seen("attention_output_sum", context @ w["attention_output_kernel"])
    x = seen("intermediate_input", norm(x + y + w["attention_output_bias"], "attention_layer_norm"))
    y = x @ w["intermediate_kernel"] + w["intermediate_bias"]
    y = 0.5 * y * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (y + 0.044715 * (y * y * y))))  # y**3 would call pow
    y = seen("output_sum", seen("output_input", y) @ w["output_kernel"])
    return norm(x + y + w["output_bias"], "output_layer_norm")
