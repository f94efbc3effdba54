"""`python -m tf_fastbert`: what is installed, what would run here and why not more, and a self-check.

Exit status: 0, everything that should work here does; 1, something is wrong (a line says PROBLEM); 2, wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

# Before TensorFlow is imported: its notes are not the report's.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(prog="python -m tf_fastbert", description=summary, epilog=details)
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object instead")
    arguments = parser.parse_args()
    from tf_fastbert import doctor

    if arguments.json:
        report = doctor.diagnose(lambda line: None)
        print(json.dumps(report.document(), indent=2))
        sys.exit(0 if report.healthy else 1)
    sys.exit(0 if doctor.run() else 1)


if __name__ == "__main__":
    main()
