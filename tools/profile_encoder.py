#!/usr/bin/env python3
"""Shows where the GPU time of BERT's encoder goes, step by step, against what the same GPU reaches in products and copies.

    python tools/profile_encoder.py --rows 1x128,8x384,32x384
    python tools/profile_encoder.py --model large --dtype bfloat16 --tune --json profile.json

Needs a GPU, its driver and our library; no PyTorch and no TensorFlow. The steps are those of the layer loop in ordinary launches:
a pass that runs in another way (as a CUDA graph, or with LayerNorm in the products' epilogues) has its time given beside them. Each
step's launches are in an NVTX range for an external profiler (nsys profile python ...).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.shapes import MODELS, parse_rows, spread_lengths  # noqa: E402
from tf_fastbert.cuda.abi import FastBertError  # noqa: E402
from tf_fastbert.cuda.ceilings import Ceilings, measure  # noqa: E402
from tf_fastbert.cuda.driver import CudaError, Gpu  # noqa: E402
from tf_fastbert.cuda.encoder import EncoderConfig, GpuEncoder, random_layers  # noqa: E402
from tf_fastbert.cuda.profiling import markdown, profile  # noqa: E402


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", default="base", choices=MODELS)
    parser.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32", "tf32"])
    parser.add_argument(
        "--rows",
        type=parse_rows,
        default=[(1, 128), (8, 128), (32, 384)],
        metavar="BATCHxLENGTH,...",
        help="default: 1x128,8x128,32x384",
    )
    parser.add_argument("--padded", action="store_true", help="keep the padding (default: padding removed, half of each batch)")
    parser.add_argument("--tune", action="store_true", help="time cuBLASLt's algorithms for each batch first")
    parser.add_argument("--no_ceilings", action="store_true", help="do not measure the ceilings (2 s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there, by layer too")
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_arguments()
    try:
        run(args)
    except (CudaError, FastBertError, ImportError, OSError) as error:
        sys.exit(f"error: {error}")


def run(args: argparse.Namespace) -> None:
    gpu = Gpu()
    layers, heads, size, inner = MODELS[args.model]
    dtype, precision = ("float32", "tf32") if args.dtype == "tf32" else (args.dtype, "default")
    config = EncoderConfig(layers, heads, size, inner, dtype=dtype, precision=precision)
    encoder = GpuEncoder(gpu, config, random_layers(config))
    ceilings: Ceilings | None = None
    print(f"{gpu.name}, driver for CUDA {gpu.driver_version[0]}.{gpu.driver_version[1]}; BERT-{args.model}, {args.dtype}")
    if not args.no_ceilings:
        try:
            ceilings = measure(gpu, args.dtype)
            print(
                f"ceilings: {ceilings.flops / 1e12:.0f} TFLOP/s in an 8192^3 product, {ceilings.bytes / 1e12:.2f} TB/s in a copy"
            )
        except OSError as error:
            print(f"no ceilings: {error}")
    records = []
    for batch, seq_len in args.rows:
        lengths = spread_lengths(batch, seq_len)
        rows = batch * seq_len if args.padded else sum(lengths)
        if args.tune:
            encoder.tune(rows)
        result = profile(gpu, encoder, lengths, seq_len, remove_padding=not args.padded)
        print(f"\n{batch} x {seq_len}, {sum(lengths)} tokens, {'padding kept' if args.padded else 'padding removed'}")
        calls, fused, graph = (1e3 * ms for ms in (result.calls_ms, result.fused_ms, result.layers_ms))
        print(f"one call: {calls:.1f} us as the library runs it, {fused:.1f} us as a CUDA graph of the fused kernels where they fit,")
        print(f"{graph:.1f} us as one of the steps ({1e3 * result.event_ms:.1f} us of measuring were taken off each)\n")
        print(markdown(result, layers, ceilings))
        work = {"batch": batch, "seq_len": seq_len, "tokens": sum(lengths), "padded": args.padded, "tuned": args.tune}
        records.append({**work, **dataclasses.asdict(result)})
    if args.json:
        limits = None if ceilings is None else dataclasses.asdict(ceilings)
        document = {"gpu": gpu.name, "model": args.model, "dtype": args.dtype, "ceilings": limits, "profiles": records}
        args.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
