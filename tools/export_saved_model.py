#!/usr/bin/env python3
"""Writes a SavedModel from a BERT checkpoint, with the op as its encoder and the weights inside.

    python tools/export_saved_model.py --task=squad --init_checkpoint=squad/model.ckpt --bert_config_file=bert_config.json \\
        --vocab_file=vocab.txt --output_dir=served/squad/1

Signature serving_default: input_ids, input_mask and segment_ids, int32 [batch, seq_len], of any batch and length, to
start_logits and end_logits (squad), probabilities and logits (classifier), or sequence_output and pooled_output (encoder).
--inputs=strings adds the signature "strings", which takes text. The program that loads the model must load the op first:

    tf.load_op_library("libtf_fastbert.so")
    model = tf.saved_model.load("served/squad/1").signatures["serving_default"]

docs/guide_serving.md has the rest: C and C++, TensorFlow Serving, what the folder holds.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one clear message, not TensorFlow's start-up notes


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--task", required=True, choices=("squad", "classifier", "encoder"), help="what the model computes")
    add(
        "--init_checkpoint",
        required=True,
        metavar="PREFIX_OR_DIR",
        help="checkpoint: float32, float16, bfloat16, or what tools/ckpt_quantization.py wrote",
    )
    add("--bert_config_file", required=True, metavar="FILE", help="bert_config.json")
    add("--vocab_file", required=True, metavar="FILE", help="vocab.txt; a copy goes with the model")
    add("--output_dir", required=True, metavar="DIR", help="the SavedModel's folder; appears only when it is complete")
    add("--overwrite", action="store_true", help="replace a SavedModel that is there")
    add("--floatx", choices=("float32", "float16", "bfloat16"), help="convert the weights to this type (default: as stored)")
    add("--int8_mode", type=int, choices=(0, 1, 2, 3), default=0, help="of an int8 checkpoint: what it was quantized for")
    add(
        "--precision",
        choices=("default", "tf32", "float32", "fp8"),
        default="default",
        help="of float32 products on a GPU; fp8: for a checkpoint with ranges for it",
    )
    add("--remove_padding", choices=("true", "false"), default="true", help="compute valid tokens only (default: true)")
    add("--labels", metavar="A,B,...", help="a classifier's labels, in the order of its outputs")
    add(
        "--inputs",
        choices=("ids", "strings"),
        default="ids",
        help="strings: a signature that takes text too; needs tensorflow-text, here and where the model is loaded",
    )
    add("--do_lower_case", choices=("true", "false"), default="true", help="false for a cased vocabulary (default: true)")
    add("--max_seq_length", type=int, metavar="N", help="text is cut to this many tokens (default: 384, or the model's most)")
    add("--max_query_length", type=int, metavar="N", help="a question is cut to this many tokens (default: 64)")
    add("--doc_stride", type=int, default=128, metavar="N", help="tokens from one window of a passage to the next (default: 128)")
    add("--max_answer_length", type=int, default=30, metavar="N", help="of an answer, in tokens (default: 30)")
    add(
        "--weights",
        choices=("auto", "constants", "variables"),
        default="auto",
        help="constants in the graph are faster to call, and end at 1.9 GB (default: auto: constants up to there)",
    )
    add("--with_library", action="store_true", help="copy libtf_fastbert.so and libdnnl.so.3 into DIR/assets.extra")
    return parser.parse_args(arguments)


def main() -> None:
    arguments = vars(parse_arguments())
    from tqdm import tqdm

    from tf_fastbert import export

    for name in ("remove_padding", "do_lower_case"):
        arguments[name] = arguments[name] == "true"
    if arguments["labels"] is not None:
        arguments["labels"] = arguments["labels"].split(",")
    try:
        report = export.export_saved_model(
            **arguments, progress=lambda names: tqdm(names, desc="reading weights", unit="variable", leave=False)
        )
    except (export.ExportError, ImportError) as error:
        sys.exit(f"error: {error}")
    settings = report.settings
    kind = f"{settings.quantization}, " if settings.quantization else ""
    print(
        f"{report.path}: {settings.task}, {kind}{settings.floatx}, {report.num_weights} weights as {report.weights}, "
        f"{report.weight_bytes / 1e6:.1f} MB"
    )
    for name, words in report.signatures.items():
        print(f"  {name}: {words}")


if __name__ == "__main__":
    main()
