#!/usr/bin/env python3
"""Makes a Google-format BERT checkpoint out of a Hugging Face BERT.

    python tools/ckpt_from_huggingface.py --model_dir=all-MiniLM-L6-v2 --output_dir=minilm

Reads config.json, vocab.txt (or tokenizer.json) and model.safetensors (or pytorch_model.bin, which needs PyTorch) and writes
bert_model.ckpt, bert_config.json and vocab.txt, which Google's scripts take as --init_checkpoint, --bert_config_file and
--vocab_file. Heads come along: question answering as cls/squad/output_weights, a classifier as output_weights.

On GELU: Hugging Face's "gelu" is the exact form, with the error function (erf). Google's "gelu" is the tanh approximation of it.
By default bert_config.json says "gelu", so that Google's unchanged code reads it, and notes the original under
"source_hidden_act"; hidden states then differ by about 1e-3, which fine-tuning absorbs. With --hidden_act=gelu_erf the file names
the exact form: scripts run through tf_fastbert understand it, Google's code alone refuses it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one clear message, not TensorFlow's start-up notes

from tf_fastbert.checkpoint import CheckpointError  # noqa: E402
from tf_fastbert.checkpoint.huggingface import convert_huggingface  # noqa: E402


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model_dir", required=True, metavar="DIR", help="directory of the Hugging Face model")
    parser.add_argument("--output_dir", required=True, metavar="DIR", help="directory to write to; created if need be")
    parser.add_argument(
        "--hidden_act",
        choices=("gelu", "gelu_erf"),
        default="gelu",
        help="what bert_config.json says where the model uses the erf form of GELU (default: gelu; see below)",
    )
    parser.add_argument(
        "--ignore_unexpected",
        action="store_true",
        help="leave out tensors that are no part of Google's BERT, instead of refusing",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the initializer of a pooler that the model lacks (default: 1)")
    return parser.parse_args(arguments)


def main() -> None:
    arguments = parse_arguments()
    from tqdm import tqdm

    try:
        report = convert_huggingface(
            arguments.model_dir,
            arguments.output_dir,
            hidden_act=arguments.hidden_act,
            ignore_unexpected=arguments.ignore_unexpected,
            seed=arguments.seed,
            progress=lambda names: tqdm(names, desc="converting", unit="variable"),
        )
    except CheckpointError as error:
        sys.exit(f"error: {error}")
    for name in report.ignored:
        print(f"left out: {name}")
    for note in report.notes:
        print(f"note: {note}")
    print(f"{report.checkpoint}: {report.num_variables} variables, with bert_config.json and vocab.txt beside it")


if __name__ == "__main__":
    main()
