"""Random configurations of the encoder, with inputs and weights to go with them; and the accuracy that is asked for.

Everything follows from the seed, so a failure's seed is enough to repeat it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from ml_dtypes import bfloat16

from tests.reference import encoder_float64

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": bfloat16}


class Weights(NamedTuple):
    """NumPy arrays under the field names of tf_fastbert.LayerWeights, in its order."""

    query_kernel: Any
    query_bias: Any
    key_kernel: Any
    key_bias: Any
    value_kernel: Any
    value_bias: Any
    attention_output_kernel: Any
    attention_output_bias: Any
    attention_layer_norm_gamma: Any
    attention_layer_norm_beta: Any
    intermediate_kernel: Any
    intermediate_bias: Any
    output_kernel: Any
    output_bias: Any
    output_layer_norm_gamma: Any
    output_layer_norm_beta: Any


@dataclasses.dataclass(frozen=True)
class Config:
    seed: int
    num_layers: int = 2
    num_heads: int = 2
    size_per_head: int = 32
    inner_size: int = 128
    batch: int = 2
    seq_len: int = 8
    lengths: tuple[int, ...] | None = None  # None: from the seed, with 0, 1 and S among them
    mask: str = "lengths"  # "lengths" [B], "prefix" [B, S], "holes" [B, S]
    dtype: str = "float32"
    activation: str = "gelu_tanh"
    layer_norm: str = "post"
    epsilon: float = 1e-12
    remove_padding: bool = True
    all_layers: bool = False
    padding: float = 0.0  # what the input's rows of padding hold

    @property
    def hidden_size(self) -> int:
        return self.num_heads * self.size_per_head

    def attributes(self) -> dict[str, Any]:
        """The keyword arguments of fast_bert_encoder."""
        names = ("num_heads", "size_per_head", "epsilon", "activation", "layer_norm", "remove_padding", "all_layers")
        # In full also on a GPU, where the default is TF32, as TensorFlow's own.
        return {**{name: getattr(self, name) for name in names}, "precision": "float32"}


class Inputs(NamedTuple):
    hidden_states: np.ndarray  # [B, S, H]
    sequence_length: np.ndarray  # int32 [B] or [B, S]
    layers: list[Weights]

    def mask(self) -> np.ndarray:
        """bool [B, S]"""
        if self.sequence_length.ndim == 2:
            return self.sequence_length != 0
        return np.arange(self.hidden_states.shape[1])[None, :] < self.sequence_length[:, None]


def random_config(seed: int, small: bool) -> Config:
    """A configuration drawn from `seed`: for a CPU in CI if small, else for a GPU."""
    rng = np.random.default_rng(seed)

    def choose(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    # The head sizes that matter half of the time, otherwise any even one.
    size_per_head = int(choose(32, 64) if rng.random() < 0.5 else 2 * rng.integers(1, 65))
    # LayerNorm over a handful of numbers is ill-conditioned in any implementation: hidden sizes from 32.
    fewest, most = -(-32 // size_per_head), max(1, (192 if small else 1024) // size_per_head)
    num_heads = int(rng.integers(fewest, max(fewest, most) + 1))
    hidden_size = num_heads * size_per_head
    inner_size = int(choose(4 * hidden_size, rng.integers(1, 4 * hidden_size), 8 * rng.integers(1, hidden_size)))
    if small:
        num_layers, batch = rng.integers(1, 4), rng.integers(1, 6)
        seq_len = choose(1, rng.integers(1, 20), rng.integers(20, 70))
    else:
        # Bounded by what the reference takes: 12M weights, 1500 tokens.
        num_layers = min(rng.integers(1, 13), max(1, 12_000_000 // (hidden_size * (4 * hidden_size + 2 * inner_size))))
        seq_len = choose(1, rng.integers(1, 40), rng.integers(1, 513), rng.integers(1, 513), 128, 384)
        batch = min(rng.integers(1, 17), max(1, 1500 // seq_len))
    return Config(
        seed=seed,
        num_layers=int(num_layers),
        num_heads=num_heads,
        size_per_head=size_per_head,
        inner_size=inner_size,
        batch=int(batch),
        seq_len=int(seq_len),
        mask=choose("lengths", "lengths", "prefix", "holes"),
        dtype=choose("float32", "float16", "bfloat16"),
        activation=choose("gelu_tanh", "gelu_erf", "relu"),
        layer_norm=choose("post", "post", "pre"),
        epsilon=choose(1e-12, 1e-12, 1e-5),
        remove_padding=bool(rng.integers(4)),
        all_layers=not rng.integers(3),
        padding=choose(0.0, 1.0, float("nan")),
    )


def make_inputs(config: Config) -> Inputs:
    """Unit-scale inputs and weights that keep every layer's values near unit scale, rounded to config.dtype."""
    rng = np.random.default_rng(config.seed + 1_000_000)
    dtype = DTYPES[config.dtype]
    batch, seq_len, h, i = config.batch, config.seq_len, config.hidden_size, config.inner_size
    if config.lengths is not None:
        lengths = np.array(config.lengths, np.int32)
    else:
        lengths = rng.integers(0, seq_len + 1, batch).astype(np.int32)
        for b in range(batch):  # 0, 1 and S must come up often, not only by chance
            if rng.random() < 0.4:
                lengths[b] = rng.choice([0, 1, seq_len])
    sequence_length = lengths
    if config.mask != "lengths":
        sequence_length = (np.arange(seq_len)[None, :] < lengths[:, None]).astype(np.int32)
        if config.mask == "holes":
            sequence_length *= rng.integers(0, 3, sequence_length.shape).astype(np.int32)  # any nonzero value means valid

    hidden = rng.standard_normal((batch, seq_len, h)).astype(dtype)
    inputs = Inputs(hidden, sequence_length, [])
    hidden[~inputs.mask()] = config.padding

    def kernel(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns), np.float32) / np.float32(np.sqrt(rows))).astype(dtype)

    def bias(n: int) -> np.ndarray:
        return (0.1 * rng.standard_normal(n)).astype(dtype)

    def gamma() -> np.ndarray:
        return (1.0 + 0.1 * rng.standard_normal(h)).astype(dtype)

    for _ in range(config.num_layers):
        inputs.layers.append(
            Weights(
                kernel(h, h),
                bias(h),
                kernel(h, h),
                bias(h),
                kernel(h, h),
                bias(h),
                kernel(h, h),
                bias(h),
                gamma(),
                bias(h),
                kernel(h, i),
                bias(i),
                kernel(i, h),
                bias(h),
                gamma(),
                bias(h),
            )  # fmt: skip
        )
    return inputs


def expected_output(config: Config, inputs: Inputs) -> np.ndarray:
    """The float64 reference's output."""
    return encoder_float64(
        inputs.hidden_states, inputs.sequence_length, inputs.layers, config.num_heads, config.epsilon, config.activation,
        config.layer_norm, config.all_layers,
    )  # fmt: skip


def check_output(config: Config, inputs: Inputs, output: np.ndarray) -> None:
    """Asserts the output's shape, the zeros in its padding and its accuracy against the reference."""
    expected = expected_output(config, inputs)
    assert output.shape == expected.shape, (config, output.shape, expected.shape)
    output = np.asarray(output).astype(np.float64)
    valid = inputs.mask()
    assert not np.any(output[..., ~valid, :]), f"rows of padding are not zero: {config}"
    if not valid.any():
        return
    assert np.all(np.isfinite(output)), f"not finite: {config}"
    # Each layer by itself, so that one that is wrong does not hide behind the others.
    for layer, (got, want) in enumerate(zip(output, expected) if config.all_layers else [(output, expected)]):
        got, want = got[valid], want[valid]
        if config.dtype == "float32":
            # Post-LN keeps values at unit scale. Pre-LN's residual stream grows, and float32's errors with it.
            limit = 1e-4 * (max(1.0, np.abs(want).max()) if config.layer_norm == "pre" else 1.0)
            error = np.abs(got - want).max()
        else:
            limit = 1e-2
            error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert error <= limit, f"error {error:.3g} > {limit:.3g} in output {layer} of {config}"
