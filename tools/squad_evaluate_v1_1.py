#!/usr/bin/env python3
"""Prints the official SQuAD v1.1 scores as JSON: {"exact_match": ..., "f1": ...}.

    python tools/squad_evaluate_v1_1.py dev-v1.1.json predictions.json
    python tools/squad_evaluate_v1_1.py dev-v1.1.json predictions.json 90      # exits with 1 if F1 is below 90, for a script
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tf_fastbert.evaluation.files import EvaluationError, load_predictions, load_questions  # noqa: E402
from tf_fastbert.evaluation.squad_v1_1 import evaluate  # noqa: E402


def main() -> None:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="SQuAD v1.1 file with the reference answers")
    parser.add_argument("predictions", help="JSON object: question id -> answer text, as run_squad writes it")
    parser.add_argument("f1_threshold", nargs="?", type=float, help="the F1 score, 0 to 100, that must be reached")
    arguments = parser.parse_args()
    try:
        scores = evaluate(load_questions(arguments.dataset), load_predictions(arguments.predictions))
    except EvaluationError as error:
        sys.exit(f"error: {error}")
    for question_id in scores.unanswered:
        print(f"Unanswered question {question_id} will receive score 0.", file=sys.stderr)
    print(json.dumps({"exact_match": scores.exact_match, "f1": scores.f1}))
    if arguments.f1_threshold is not None and scores.f1 < arguments.f1_threshold:
        sys.exit(f"error: F1 is {scores.f1:.3f}, below {arguments.f1_threshold:g}")


if __name__ == "__main__":
    main()
