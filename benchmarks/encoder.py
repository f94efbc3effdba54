"""Times BERT's encoder on one GPU: ours through the C ABI, and PyTorch beside it, same weights, same lengths.

    python benchmarks/encoder.py [--model base|large|minilm] [--dtype float16|bfloat16|float32|tf32] [--rows 1x32,8x128,...]
                                 [--tune] [--torch] [--profile] [--out DIR]

Every row is first checked: the first sequences against a float64 encoder, and PyTorch's output against ours. Times are medians by
CUDA events: `launched`, calls queued one behind the other and timed together; `graph`, replays of a CUDA graph. Lengths are
spread evenly from S / 8 to S - S / 8 (S / 2 if there is one sequence), so about half of the padded batch is padding. --tune times
the products' algorithms of a row first. Writes encoder.jsonl and encoder.md to --out and prints the table.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import statistics
import sys
from collections.abc import Callable, Sequence

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from benchmarks.cuda_encoder import CudaEncoder, EncoderConfig, PackedWeights, random_layers, reference  # noqa: E402
from benchmarks.shapes import MODELS, spread_lengths  # noqa: E402

ROWS = "1x32,1x128,1x384,8x32,8x128,8x384,32x32,32x128,32x384,128x128,128x384"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "tf32": torch.float32}
CHECKED_SEQUENCES = 4


def event_ms(run: Callable[[], None], calls: int) -> float:
    """Milliseconds of one call, from events around `calls` of them."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(calls):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / calls


def median_ms(run: Callable[[], None], seconds: float = 0.25) -> float:
    """Median over rounds of a few calls each, after a warm-up."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    calls = 5
    estimate = event_ms(run, calls)
    rounds = max(7, min(60, int(seconds * 1e3 / (estimate * calls))))
    return statistics.median(event_ms(run, calls) for _ in range(rounds))


def graph_of(run: Callable[[], None]) -> Callable[[], None]:
    """A function that replays a CUDA graph of run()."""
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def torch_packed(
    config: EncoderConfig, layers: Sequence[dict[str, torch.Tensor]], packed: torch.Tensor, lengths: Sequence[int]
) -> Callable[[], torch.Tensor]:
    """PyTorch over packed tokens [T, H] (post-LN, GELU tanh): fused QKV product and its flash attention with cu_seqlens."""
    qkv = [
        (
            torch.cat([w[n + "_kernel"] for n in ("query", "key", "value")], 1),
            torch.cat([w[n + "_bias"] for n in ("query", "key", "value")]),
        )
        for w in layers
    ]
    ends = torch.tensor([0] + list(torch.tensor(lengths).cumsum(0)), dtype=torch.int32, device="cuda")
    longest = max(lengths)
    functional = torch.nn.functional

    def run() -> torch.Tensor:
        x = packed
        for w, (kernel, bias) in zip(layers, qkv):
            q, k, v = torch.addmm(bias, x, kernel).view(-1, 3, config.num_heads, config.size_per_head).unbind(1)
            context = torch.ops.aten._flash_attention_forward(q, k, v, ends, ends, longest, longest, 0.0, False, False)[0]
            y = torch.addmm(w["attention_output_bias"], context.reshape(x.shape), w["attention_output_kernel"])
            x = functional.layer_norm(
                x + y, x.shape[1:], w["attention_layer_norm_gamma"], w["attention_layer_norm_beta"], config.epsilon
            )
            y = functional.gelu(torch.addmm(w["intermediate_bias"], x, w["intermediate_kernel"]), approximate="tanh")
            y = torch.addmm(w["output_bias"], y, w["output_kernel"])
            x = functional.layer_norm(
                x + y, x.shape[1:], w["output_layer_norm_gamma"], w["output_layer_norm_beta"], config.epsilon
            )
        return x

    return run


def kernel_times(run: Callable[[], None], calls: int = 10) -> list[tuple[str, float, float]]:
    """(kernel, microseconds in one call, launches in one call), longest first."""
    run()
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(calls):
            run()
        torch.cuda.synchronize()
    total, count = collections.Counter(), collections.Counter()
    for event in profiler.events():
        total[event.name] += event.device_time
        count[event.name] += 1
    return [(name, us / calls, count[name] / calls) for name, us in total.most_common()]


class Benchmark:
    """One model with weights; measures one row at a time."""

    def __init__(self, model: str, dtype: str):
        layers, heads, size, inner = MODELS[model]
        self.name, self.dtype = model, dtype
        self.config = EncoderConfig(
            layers, heads, size, inner, dtype=DTYPES[dtype], precision="tf32" if dtype == "tf32" else "default"
        )
        self.generator = torch.Generator(device="cuda").manual_seed(0)
        self.layers = random_layers(self.config, self.generator)
        self.encoder = CudaEncoder(self.config)
        self.weights = PackedWeights(self.encoder, self.layers)

    def measure(self, batch: int, seq_len: int, tune: bool, with_torch: bool, profile: bool) -> dict:
        config = self.config
        lengths = spread_lengths(batch, seq_len)
        mask = torch.arange(seq_len)[None, :] < torch.tensor(lengths)[:, None]
        inputs = torch.randn(batch, seq_len, config.hidden_size, generator=self.generator, device="cuda").to(config.dtype)
        output = torch.full_like(inputs, float("nan"))
        workspace = torch.empty(
            max(self.encoder.workspace_bytes(batch, seq_len, sum(lengths), r) for r in (True, False)),
            dtype=torch.uint8,
            device="cuda",
        )
        row = {
            "model": self.name,
            "dtype": self.dtype,
            "batch": batch,
            "seq_len": seq_len,
            "tokens": sum(lengths),
            "padding": 1 - sum(lengths) / (batch * seq_len),
            "tuned": tune,
        }

        if tune:
            for rows in (sum(lengths), batch * seq_len):
                self.encoder.tune(self.weights, rows)

        def forward(remove_padding: bool) -> Callable[[], None]:
            return lambda: self.encoder.forward(
                self.weights, inputs, output, workspace, lengths=lengths, remove_padding=remove_padding
            )

        for name, remove in (("removed", True), ("kept", False)):
            run = forward(remove)
            output.fill_(float("nan"))
            replay = graph_of(run)
            replay()
            n = min(batch, CHECKED_SEQUENCES)
            want = reference(config, self.layers, inputs[:n], mask[:n])
            row[f"{name}_relative_error"] = float((output[:n].double() - want).norm() / want.norm())
            # bfloat16 has 8 bits, and 24 layers of rounding: the limit only has to tell right from wrong here.
            if not row[f"{name}_relative_error"] < (0.03 if self.dtype != "float32" else 1e-4):
                raise RuntimeError(f"wrong output, not timed: {row}")
            row[f"{name}_launched_ms"] = median_ms(run)
            row[f"{name}_graph_ms"] = median_ms(replay)
            if profile and remove:
                row["kernels"] = kernel_times(run)

        if with_torch and self.dtype in ("float16", "bfloat16"):
            run = torch_packed(config, self.layers, inputs[mask.cuda()], lengths)
            forward(True)()
            difference = float((run().double() - output[mask.cuda()].double()).norm() / output.double().norm())
            if not difference < 0.03:
                raise RuntimeError(f"PyTorch and ours differ by {difference}: {row}")
            row["torch_packed_graph_ms"] = median_ms(graph_of(run))
        return row


def markdown(rows: Sequence[dict], gpu: str) -> str:
    """The table, milliseconds."""
    lines = [
        f"{gpu}, CUDA {torch.version.cuda}, torch {torch.__version__}; ms, medians by CUDA events",
        "",
        "| model | type | tuned | B | S | T | padding | graph | launched | padded graph | padded launched "
        "| torch packed graph | rel. error |",
        "|--|--|--|--|--|--|--|--|--|--|--|--|--|",
    ]
    for r in rows:
        peer = f"{r['torch_packed_graph_ms']:.3f}" if "torch_packed_graph_ms" in r else "-"
        lines.append(
            f"| {r['model']} | {r['dtype']} | {'yes' if r['tuned'] else 'no'} | {r['batch']} | {r['seq_len']} | {r['tokens']} "
            f"| {r['padding']:.0%} | {r['removed_graph_ms']:.3f} | {r['removed_launched_ms']:.3f} | {r['kept_graph_ms']:.3f} "
            f"| {r['kept_launched_ms']:.3f} | {peer} | {r['removed_relative_error']:.1e} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="base", choices=MODELS)
    parser.add_argument("--dtype", default="float16", choices=DTYPES)
    parser.add_argument("--rows", default=ROWS, help="BxS,BxS,...")
    parser.add_argument("--tune", action="store_true", help="time the products' algorithms first")
    parser.add_argument("--torch", action="store_true", help="also time PyTorch over packed tokens, as a CUDA graph")
    parser.add_argument("--profile", action="store_true", help="also print the time of each kernel")
    parser.add_argument("--out", default=".", type=pathlib.Path)
    args = parser.parse_args()

    gpu = torch.cuda.get_device_name()
    benchmark = Benchmark(args.model, args.dtype)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with open(args.out / "encoder.jsonl", "a") as log:
        for text in args.rows.split(","):
            batch, seq_len = map(int, text.split("x"))
            row = benchmark.measure(batch, seq_len, args.tune, args.torch, args.profile)
            log.write(json.dumps({"gpu": gpu, **row}) + "\n")
            log.flush()
            for name, us, launches in row.get("kernels", ()):
                print(f"{text:>8} {us:9.1f} us {launches:6.1f} x {us / launches:7.2f} us  {name[:150]}")
            rows.append(row)
    table = markdown(rows, gpu)
    with open(args.out / "encoder.md", "a") as file:
        file.write(table + "\n\n")
    print(table)


if __name__ == "__main__":
    main()
