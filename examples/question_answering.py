#!/usr/bin/env python3
"""Answers questions about a passage with a BERT that was fine-tuned on SQuAD, through tf_fastbert's encoder.

  python examples/question_answering.py -m squad_model -p "The Spree flows through Berlin." -q "What flows through Berlin?"
  python examples/question_answering.py -m squad_model -pf passage.txt                 asks for questions
  python examples/question_answering.py -m squad_model --serve                         a page on http://127.0.0.1:8000
  python examples/question_answering.py -m squad_model -sq dev-v1.1.json -o predictions.json

squad_model holds bert_config.json, vocab.txt and a checkpoint in Google's format. The answers are those of run_squad_wrap.py. The
flags -p, -pf, -q, -sq, -o, -v, -s and -b are those of TensorRT demo/BERT's inference.py. See docs/guide_asking.md.
"""

import sys
from pathlib import Path

try:
    import tf_fastbert  # noqa: F401
except ImportError:  # not installed: run from the checkout that this file is in
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fastbert.answering.command_line import main

if __name__ == "__main__":
    main(__doc__)
