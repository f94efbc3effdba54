"""`python -m tf_fastbert`: what is installed, what would run here and why not more, and a self-check. Exit status 1: something is wrong."""

from __future__ import annotations

import argparse
import os
import sys

# Before TensorFlow is imported: its notes are not the report's.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    argparse.ArgumentParser(prog="python -m tf_fastbert", description=__doc__).parse_args()
    from tf_fastbert import doctor

    sys.exit(0 if doctor.run() else 1)


if __name__ == "__main__":
    main()
