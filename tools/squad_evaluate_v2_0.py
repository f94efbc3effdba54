#!/usr/bin/env python3
"""Prints the official SQuAD v2.0 scores as JSON.

    python tools/squad_evaluate_v2_0.py dev-v2.0.json predictions.json --na_prob_file null_odds.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tf_fastbert.evaluation.files import (  # noqa: E402
    EvaluationError,
    load_predictions,
    load_probabilities,
    load_questions,
)
from tf_fastbert.evaluation.squad_v2_0 import evaluate  # noqa: E402


def main() -> None:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="SQuAD v2.0 file with the reference answers")
    parser.add_argument("predictions", help='JSON object: question id -> answer text, "" for "no answer"')
    parser.add_argument(
        "--na_prob_file",
        "--na-prob-file",
        "-n",
        metavar="FILE",
        help='JSON object: question id -> how probable "no answer" is (run_squad\'s null_odds.json will do); adds the best '
        "thresholds",
    )
    parser.add_argument(
        "--na_prob_thresh",
        "--na-prob-thresh",
        "-t",
        type=float,
        default=1.0,
        metavar="T",
        help='above it a prediction counts as "no answer" (default: 1.0)',
    )
    parser.add_argument("--out_file", "--out-file", "-o", metavar="FILE", help="write the scores there instead of printing them")
    arguments = parser.parse_args()
    try:
        probabilities = load_probabilities(arguments.na_prob_file) if arguments.na_prob_file else None
        scores, unanswered = evaluate(
            load_questions(arguments.dataset), load_predictions(arguments.predictions), probabilities, arguments.na_prob_thresh
        )
    except EvaluationError as error:
        sys.exit(f"error: {error}")
    for question_id in unanswered:
        print(f"Unanswered question {question_id} will receive score 0.", file=sys.stderr)
    if arguments.out_file:
        try:
            Path(arguments.out_file).write_text(json.dumps(scores) + "\n", encoding="utf-8")
        except OSError as error:
            sys.exit(f"error: cannot write {arguments.out_file}: {error.strerror}")
    else:
        print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
