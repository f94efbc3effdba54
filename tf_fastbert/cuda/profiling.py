"""Where an encoder's time goes: each step of the layer loop against the time that its work needs at the GPU's ceilings."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np

from tf_fastbert.cuda.ceilings import Ceilings
from tf_fastbert.cuda.driver import Gpu
from tf_fastbert.cuda.encoder import STORAGE, EncoderConfig, GpuEncoder

_BUSY_BYTES = 1 << 30  # a fill of this size takes about half a millisecond of GPU time
_BUSY_FILLS = 8


@dataclasses.dataclass(frozen=True)
class StepTime:
    """One kind of step over a whole pass. milliseconds: all of them; flops, moved: operations and bytes of all of them."""

    name: str
    count: int
    milliseconds: float
    flops: float
    moved: float

    def floor(self, ceilings: Ceilings | None) -> float | None:
        """Milliseconds at the ceilings."""
        return None if ceilings is None else ceilings.milliseconds(self.flops, self.moved)


@dataclasses.dataclass(frozen=True)
class Profile:
    """steps: by kind, in the order of a layer; layers: milliseconds by layer and kind; event_ms: what measuring added to each
    step, already subtracted; calls_ms: one pass among others as the library runs it; layers_ms: as a CUDA graph of the steps;
    fused_ms: likewise with LayerNorm in the products' epilogues; about the same as layers_ms where the library has none for it."""

    steps: list[StepTime]
    layers: list[dict[str, float]]
    event_ms: float
    calls_ms: float
    layers_ms: float
    fused_ms: float


def step_work(config: EncoderConfig, name: str, rows: int, lengths: Sequence[int]) -> tuple[float, float]:
    """(operations, bytes) of one step of one layer over `rows` rows; bytes: each operand from memory or to it once."""
    h, i, width = config.hidden_size, config.inner_size, config.bytes_per_value
    products = {"qkv": (h, 3 * h), "attention_output": (h, h), "intermediate": (h, i), "output": (i, h)}
    if name in products:
        k, n = products[name]
        return 2.0 * rows * k * n, width * (rows * k + k * n + rows * n)
    if name == "attention":
        return 4.0 * h * sum(length * length for length in lengths), width * 4 * rows * h
    passes_over_rows = {"layer_norm": 3, "pack": 2}.get(name, 0)
    return 0.0, width * passes_over_rows * rows * h


def profile(
    gpu: Gpu, encoder: GpuEncoder, lengths: Sequence[int], seq_len: int, remove_padding: bool = True, passes: int = 15
) -> Profile:
    """Profiles one batch of random numbers; the medians of several passes.

    Args:
      lengths: valid tokens of each sequence, at most seq_len.
    """
    config = encoder.config
    values = np.random.default_rng(0).standard_normal((len(lengths), seq_len, config.hidden_size), np.float32)
    if config.dtype == "bfloat16":
        values = (values.view(np.uint32) >> 16).astype(np.uint16)
    batch = encoder.batch(values.astype(STORAGE[config.dtype]), lengths, remove_padding)
    busy = gpu.empty(_BUSY_BYTES)
    for _ in range(3):
        encoder.forward(batch)
    calls_ms = gpu.median_ms(lambda: encoder.forward(batch))
    graph_ms = {}
    for kernels in ("fused", "layers"):
        encoder.choose_kernels(kernels)
        graph_ms[kernels] = gpu.median_ms(gpu.capture(lambda: encoder.forward(batch)))
    runs = []
    for _ in range(passes):
        for _ in range(_BUSY_FILLS):  # the GPU is still at this while the host queues the pass
            gpu.fill(busy, 0)
        runs.append(encoder.profile(batch))
    encoder.choose_kernels("fastest")
    # An event holds up the next kernel by one to four microseconds, more the shorter the kernels are; two events with nothing in
    # between do not show that. What the steps take together beyond a pass without events is taken off in equal parts.
    medians = [statistics.median(run[i][2] for run in runs) for i, (name, _, _) in enumerate(runs[0]) if name != "nothing"]
    event_ms = max(0.0, sum(medians) - graph_ms["layers"]) / len(medians)

    rows = sum(lengths) if remove_padding else len(lengths) * seq_len
    layers: list[dict[str, float]] = [{} for _ in range(config.num_layers)]
    totals: dict[str, list[float]] = {}
    named = [(name, layer) for name, layer, _ in runs[0] if name != "nothing"]
    for (name, layer), median in zip(named, medians):
        milliseconds = max(0.0, median - event_ms)
        totals.setdefault(name, []).append(milliseconds)
        if layer >= 0:
            layers[layer][name] = layers[layer].get(name, 0.0) + milliseconds
    steps = []
    for name, times in totals.items():
        flops, moved = step_work(config, name, rows, lengths)
        steps.append(StepTime(name, len(times), sum(times), flops * len(times), moved * len(times)))
    return Profile(steps, layers, event_ms, calls_ms, graph_ms["layers"], graph_ms["fused"])


def markdown(result: Profile, num_layers: int, ceilings: Ceilings | None) -> str:
    """A table: each kind of step, its time in a layer and in a pass, its work, and the share of the ceiling that it reaches."""
    total = sum(step.milliseconds for step in result.steps)
    floors = [step.floor(ceilings) or 0.0 for step in result.steps]
    lines = [
        "| step | in a pass | us a layer | us a pass | share | GFLOP | MB | TFLOP/s | TB/s | us at ceilings | of the ceiling |",
        "|--" * 11 + "|",
    ]
    for step, floor in zip(result.steps, floors):
        seconds = 1e-3 * step.milliseconds
        rates = ["-", "-"] if seconds == 0 else [f"{step.flops / seconds / 1e12:.0f}", f"{step.moved / seconds / 1e12:.2f}"]
        in_layer = f"{1e3 * step.milliseconds / num_layers:.1f}" if step.count >= num_layers else "-"
        known = ceilings is not None and step.milliseconds > 0
        cells = [step.name, str(step.count), in_layer, f"{1e3 * step.milliseconds:.1f}", f"{step.milliseconds / total:.0%}"]
        cells += [f"{step.flops / 1e9:.1f}", f"{step.moved / 1e6:.1f}", *rates]
        cells += [f"{1e3 * floor:.1f}" if known else "-", f"{floor / step.milliseconds:.0%}" if known else "-"]
        lines.append("| " + " | ".join(cells) + " |")
    floor_text = f"{1e3 * sum(floors):.1f} | {sum(floors) / total:.0%}" if ceilings is not None else "- | -"
    flops, moved = sum(step.flops for step in result.steps), sum(step.moved for step in result.steps)
    lines.append(
        f"| all | {sum(s.count for s in result.steps)} | {1e3 * total / num_layers:.1f} | {1e3 * total:.1f} | 100% "
        f"| {flops / 1e9:.1f} | {moved / 1e6:.1f} | {flops / total / 1e9:.0f} | {moved / total / 1e9:.2f} | {floor_text} |"
    )
    return "\n".join(lines)
