#!/usr/bin/env python3
"""Google's run_classifier.py through tf_fastbert's encoder.

  python examples/run_classifier_wrap.py --task_name=MRPC --data_dir=GLUE/MRPC --do_eval=true \\
      --vocab_file=DIR/vocab.txt --bert_config_file=DIR/bert_config.json --init_checkpoint=DIR/bert_model.ckpt \\
      --max_seq_length=128 --output_dir=out --floatx=float32 --remove_padding=true

Writes what Google's script writes (eval_results.txt, test_results.tsv), and fastbert_timing.json. See docs/guide_wrappers.md.
"""

import sys
from pathlib import Path

try:
    import tf_fastbert  # noqa: F401
except ImportError:  # not installed: run from the checkout that this file is in
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tf_fastbert.wrap.runner import main

if __name__ == "__main__":
    main("run_classifier", __doc__)
