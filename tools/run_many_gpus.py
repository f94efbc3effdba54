#!/usr/bin/env python3
"""Answers the questions, or classifies the sentences, of large JSONL or Parquet files on all GPUs of this machine.

    python tools/run_many_gpus.py --model=served/squad/1 --input=questions.jsonl --output_dir=answers --merged_output=answers.jsonl

One process a GPU takes shard after shard; one that dies is replaced and its shard is answered again. The same job as
tools/batch_answer.py, its input, output and resuming, without Apache Beam: see docs/guide_large_jobs.md. Without a GPU, or with
--processes, it runs on the CPU.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one clear message, not TensorFlow's start-up notes

from tf_fastbert.batch import BatchError, command_line, many_command  # noqa: E402


def main() -> None:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    command_line.add_flags(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--gpus", metavar="0,1,...", help="GPUs to use, as in CUDA_VISIBLE_DEVICES (default: all)")
    where.add_argument("--processes", type=int, metavar="N", help="this many processes on the CPU instead")
    arguments = parser.parse_args()
    try:
        sys.exit(many_command.main(arguments))
    except BatchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted; run the same command again to go on")


if __name__ == "__main__":
    main()
