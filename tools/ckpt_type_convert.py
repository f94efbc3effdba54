#!/usr/bin/env python3
"""Casts a BERT checkpoint from float32 to float16 or bfloat16.

    python tools/ckpt_type_convert.py --init_checkpoint=squad_model/model.ckpt --fp16_checkpoint=squad_fp16/model.ckpt

Every float variable is cast, except those with "quant" or "amaxList" in their name (ranges of quantizers). Integers and
strings, such as global_step, stay as they are. What only training needs (adam_m, adam_v, Momentum, beta1_power ...) is left out.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one clear message, not TensorFlow's start-up notes

from tf_fastbert.checkpoint import CheckpointError  # noqa: E402
from tf_fastbert.checkpoint.cast import DTYPES, cast_checkpoint  # noqa: E402


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--init_checkpoint",
        required=True,
        metavar="PREFIX_OR_DIR",
        help="checkpoint to read: a prefix such as dir/model.ckpt-1000, or a directory (its latest checkpoint, else "
        "bert_model.ckpt)",
    )
    parser.add_argument(
        "--fp16_checkpoint",
        required=True,
        metavar="PREFIX",
        help="checkpoint to write, such as dir/model.ckpt; appears only when it is complete",
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="type to cast to (default: float16)")
    parser.add_argument(
        "--keep_optimizer_slots",
        action="store_true",
        help="keep the optimizer's variables too, in float32: their small values would vanish in 16 bits",
    )
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse_arguments()
    from tqdm import tqdm

    try:
        report = cast_checkpoint(
            arguments.init_checkpoint,
            arguments.fp16_checkpoint,
            arguments.dtype,
            keep_optimizer_slots=arguments.keep_optimizer_slots,
            progress=lambda names: tqdm(names, desc="casting", unit="variable"),
        )
    except CheckpointError as error:
        sys.exit(f"error: {error}")
    print(
        f"{arguments.fp16_checkpoint}: {len(report.cast)} variables in {arguments.dtype}, {len(report.kept)} kept as they were, "
        f"{len(report.dropped)} optimizer slots left out"
    )


if __name__ == "__main__":
    main()
