#!/usr/bin/env python3
"""Times cuBLASLt's algorithms for a model's matrix products on this GPU and keeps the fastest in a file that the op takes.

    python tools/gemm_tune.py --bert_config_file=bert_config.json --floatx=float16
    python tools/gemm_tune.py 32 128 12 64 1 0     # FasterTransformer's: batch seq_len heads size_per_head data_type int8_mode
    python tools/gemm_tune.py --check=table.txt --bert_config_file=bert_config.json

The products are tuned for every range of token counts up to --max_tokens (or batch * seq_len), since batches without padding
have another count each time. The file goes where the op library looks when it is loaded (tf_fastbert/gemm_tables in the user's
cache folder), or to --output; TF_FASTBERT_GEMM_TABLES names files elsewhere. It is used only on the same GPU model with the same
version of cuBLASLt, for products of the same sizes and type; everywhere else it is passed over. Needs no TensorFlow. Nothing else
should run on the GPU meanwhile.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from tf_fastbert import gemm_tables  # noqa: E402
from tf_fastbert.config import BertConfig  # noqa: E402
from tf_fastbert.cuda import tuning  # noqa: E402
from tf_fastbert.cuda.abi import FastBertError, library_path  # noqa: E402
from tf_fastbert.cuda.driver import CudaError, Gpu  # noqa: E402
from tf_fastbert.cuda.encoder import EncoderConfig  # noqa: E402

TYPES = ("float32", "float16", "bfloat16", "tf32")
ANCESTOR = ("batch", "seq_len", "head_number", "size_per_head", "data_type", "int8_mode")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "numbers",
        nargs="*",
        type=int,
        metavar="NUMBER",
        help="none, or the six of FasterTransformer's bert_gemm: batch seq_len head_number size_per_head data_type (0: float32, "
        "1: float16, 2: bfloat16) int8_mode (0 to 3); the inner size is then four times the hidden size",
    )
    parser.add_argument("--bert_config_file", metavar="FILE", help="the model's bert_config.json (default: BERT-base)")
    parser.add_argument("--floatx", choices=TYPES, default="float16", help="type of the encoder (default: float16)")
    parser.add_argument("--max_tokens", type=int, default=32768, help="largest number of tokens of a batch (default: 32768)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to write (default: where the op looks)")
    parser.add_argument("--check", type=Path, metavar="FILE", help="write nothing; say whether this file is used here")
    parsed = parser.parse_args(arguments)
    if parsed.numbers:
        use_numbers(parser, parsed)
    if parsed.max_tokens < 1:
        parser.error(f"--max_tokens is {parsed.max_tokens}, expected 1 or more")
    return parsed


def use_numbers(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> None:
    """Turns FasterTransformer's six numbers into the options; the heads stay in parsed.heads."""
    if len(parsed.numbers) != len(ANCESTOR):
        parser.error(f"expected no number or six ({' '.join(ANCESTOR)}), got {len(parsed.numbers)}")
    batch, seq_len, _, _, data_type, int8_mode = parsed.numbers
    for name, number in zip(ANCESTOR[:4], parsed.numbers):
        if number < 1:
            parser.error(f"{name} is {number}, expected 1 or more")
    if data_type not in (0, 1, 2):
        parser.error(f"data_type is {data_type}, expected 0 (float32), 1 (float16) or 2 (bfloat16)")
    if int8_mode not in (0, 1, 2, 3):
        parser.error(f"int8_mode is {int8_mode}, expected 0, 1, 2 or 3")
    if parsed.bert_config_file:
        parser.error("--bert_config_file and the six numbers both say what the model is; give one of them")
    parsed.floatx, parsed.max_tokens = TYPES[data_type], batch * seq_len


def encoder_config(args: argparse.Namespace) -> EncoderConfig:
    dtype, precision = ("float32", "tf32") if args.floatx == "tf32" else (args.floatx, "default")
    if args.numbers:
        _, _, heads, size, _, _ = args.numbers
        return EncoderConfig(12, heads, size, 4 * heads * size, dtype=dtype, precision=precision)
    base = EncoderConfig(12, 12, 64, 3072, dtype=dtype, precision=precision)
    if not args.bert_config_file:
        return base
    model = BertConfig.from_file(args.bert_config_file)
    return dataclasses.replace(
        base,
        num_layers=model.num_hidden_layers,
        num_heads=model.num_attention_heads,
        size_per_head=model.size_per_head,
        inner_size=model.intermediate_size,
        activation=model.activation,
    )


def check(path: Path, config: EncoderConfig) -> None:
    """Prints how much of a file is used here; exits with 1 if nothing is."""
    text = path.read_text()
    gpu = Gpu()
    used, all_entries = tuning.used_entries(gpu, config, text), tuning.count_entries(text)
    for name, version in tuning.measured_with(text):
        print(f"{path}: measured on {name} with cuBLASLt {version}; this is {gpu.name}")
    print(f"{used} of {all_entries} entries are used for this model here")
    if used == 0:
        sys.exit(1)


def run(args: argparse.Namespace) -> None:
    os.environ["TF_FASTBERT_GEMM_TABLES"] = ""  # what is measured here starts from nothing
    config = encoder_config(args)
    if args.check:
        check(args.check, config)
        return
    if args.numbers and args.numbers[-1] != 0:
        print("8-bit products are kernels of our own, with nothing to tune; tuned are the others, which small batches use")
    gpu = Gpu()
    counts = tuning.bucket_ends(args.max_tokens)
    print(f"{gpu.name}, {library_path()}: {len(counts)} ranges of token counts up to {counts[-1]}", flush=True)
    text = tuning.tune(gpu, config, counts, lambda tokens: print(f"\r{tokens} tokens ", end="", file=sys.stderr, flush=True))
    print(file=sys.stderr)
    output = args.output or gemm_tables.user_folder() / tuning.table_name(gpu.name, config)
    tuning.write_table(output, text)
    print(f"wrote {output}: {tuning.count_entries(text)} entries")
    if args.output and output.parent != gemm_tables.user_folder():
        print(f"to use it: export TF_FASTBERT_GEMM_TABLES={output.resolve()}")


def main() -> None:
    args = parse_arguments()
    try:
        run(args)
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}")
    except (CudaError, FastBertError, ImportError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
