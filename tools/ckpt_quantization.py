#!/usr/bin/env python3
"""Quantizes a BERT checkpoint: int8 kernels, and the ranges of each layer as amaxList. Needs no GPU.

    python tools/ckpt_quantization.py --init_checkpoint=squad_calibrated/model.ckpt \\
        --quantized_checkpoint=squad_int8/model.ckpt --int8_mode=1

The input has quantizers: from tools/ckpt_calibrate.py, or from training with --quant_mode. It may be float32, float16 or bfloat16
(tools/ckpt_type_convert.py); all but the kernels keeps its type. Run the output with examples/run_squad_wrap.py --int8_mode=...
and the same --floatx. With --precision=fp8 the kernels stay as they are: they are scaled to FP8 when the model is loaded.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one clear message, not TensorFlow's start-up notes

from tf_fastbert.checkpoint import CheckpointError  # noqa: E402

# Part of a kernel's weights that may lie outside its range before this warns: a percentile cuts off less.
_MUCH_CLIPPED = 0.01


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--init_checkpoint",
        required=True,
        metavar="PREFIX_OR_DIR",
        help="checkpoint with quantizers: a prefix such as dir/model.ckpt-1000, or a directory (its latest checkpoint, else "
        "bert_model.ckpt)",
    )
    parser.add_argument(
        "--quantized_checkpoint",
        required=True,
        metavar="PREFIX",
        help="checkpoint to write, such as dir/model.ckpt; appears only when it is complete",
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "--int8_mode",
        type=int,
        choices=(1, 2, 3),
        help="1: kernels by output channel, accurate; 2: by tensor, fast; 3: as 2, for a model trained with --quant_mode=ft3",
    )
    mode.add_argument("--precision", choices=("fp8",), help="fp8: ranges for --precision=fp8, kernels as they are")
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse_arguments()
    from tqdm import tqdm

    from tf_fastbert.quantization.convert import quantize_checkpoint

    mode = arguments.int8_mode or arguments.precision
    try:
        report = quantize_checkpoint(
            arguments.init_checkpoint,
            arguments.quantized_checkpoint,
            mode,
            progress=lambda layers: tqdm(layers, desc="quantizing", unit="layer"),
        )
    except CheckpointError as error:
        sys.exit(f"error: {error}")
    share, name = report.clipped
    if share > _MUCH_CLIPPED:
        print(f"warning: {100 * share:.1f} % of {name} lie outside its range and are clipped", file=sys.stderr)
    print(
        f"{arguments.quantized_checkpoint}: {report.layers} layers, "
        f"{'fp8' if mode == 'fp8' else f'int8_mode {mode}'}, {report.bytes_after / 1e6:.1f} MB (from "
        f"{report.bytes_before / 1e6:.1f} MB without optimizer slots), {len(report.dropped)} variables of quantizers and "
        f"optimizers left out, {report.seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
