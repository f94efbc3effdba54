#!/usr/bin/env python3
"""Answers the questions, or classifies the sentences, of large JSONL or Parquet files, on Apache Beam.

    python tools/batch_answer.py --model=served/squad/1 --input='questions-*.jsonl' --output_dir=answers --direct_num_workers=4

Flags that are not listed here go to Beam. Without --runner it runs on this machine, in as many worker processes as
--direct_num_workers says (0: the cores); --runner=FlinkRunner, SparkRunner, DataflowRunner ... run the same job there. Every id
gets one answer: duplicates are found before anything is computed, and at the end the ids of all answers are compared with the
input's. Run the same command again to finish a job that was stopped; what is finished stays. See docs/guide_large_jobs.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one clear message, not TensorFlow's start-up notes

from tf_fastbert.batch import BatchError, beam_command, command_line  # noqa: E402


def main() -> None:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    command_line.add_flags(parser)
    parser.add_argument("--runner", default="local", help="Beam's runner (default: local: worker processes of this machine)")
    parser.add_argument(
        "--restarts", type=int, default=3, metavar="N", help="local: how often to go on after a worker process died (default: 3)"
    )
    parser.add_argument("--verbose", action="store_true", help="show Beam's log")
    arguments, beam_flags = parser.parse_known_args()
    try:
        sys.exit(beam_command.main(arguments, beam_flags, source=str(ROOT)))
    except BatchError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
