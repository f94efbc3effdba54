#!/usr/bin/env python3
"""Calibrates a BERT checkpoint: finds the ranges of its activations on your data, and writes them into a copy of it.

    python tools/ckpt_calibrate.py --init_checkpoint=squad_model/model.ckpt --vocab_file=vocab.txt \\
        --bert_config_file=bert_config.json --train_file=train-v1.1.json --calibrated_checkpoint=squad_calibrated/model.ckpt \\
        --quant_mode=ft1

    python tools/ckpt_calibrate.py ... --task_name=MRPC --data_dir=GLUE/MRPC

Then quantize the copy with tools/ckpt_quantization.py: --int8_mode=1 after ft1, 2 after ft2, 3 after ft3, --precision=fp8 after
fp8. Use training data, of the kind that the model will see. Needs no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # one clear message, not TensorFlow's start-up notes

from tf_fastbert.quantization.modes import BY_NAME  # noqa: E402
from tf_fastbert.quantization.ranges import METHODS  # noqa: E402

# --calib_method=best runs its trials on this many of the examples.
_TRIAL_EXAMPLES = 32


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--init_checkpoint", required=True, metavar="PREFIX_OR_DIR", help="fine-tuned checkpoint, float32, float16 or bfloat16")
    add("--calibrated_checkpoint", required=True, metavar="PREFIX", help="checkpoint to write; appears only when it is complete")
    add("--bert_config_file", required=True, metavar="FILE", help="bert_config.json of the model")
    add("--vocab_file", required=True, metavar="FILE", help="vocab.txt of the model")
    data = parser.add_argument_group("data (one of the two)")
    data.add_argument("--train_file", metavar="FILE", help="SQuAD file, may be .gz; its answers are not used")
    data.add_argument("--task_name", metavar="TASK", help="task of Google's run_classifier.py: CoLA, MNLI, MRPC, XNLI")
    data.add_argument("--data_dir", metavar="DIR", help="directory of the task's train.tsv")
    add("--num_examples", type=int, default=128, help="questions or sentence pairs, chosen at random (default: 128)")
    add("--seed", type=int, default=0, help="of that choice (default: 0)")
    add("--quant_mode", choices=tuple(BY_NAME), default="ft1", help="what the ranges are for: ft1, ft2, ft3: int8_mode 1 "
        "(default), 2, 3; fp8: --precision=fp8")
    add("--calib_method", choices=("best", *METHODS), default="best", help="how ranges are chosen; best: by trial (default)")
    add("--percentile", type=float, default=99.99, help="for --calib_method=percentile (default: 99.99)")
    add("--max_seq_length", type=int, default=None, help="as in training (default: 384 for SQuAD, 128 for the tasks)")
    add("--doc_stride", type=int, default=128, help="SQuAD: as in training (default: 128)")
    add("--max_query_length", type=int, default=64, help="SQuAD: as in training (default: 64)")
    add("--do_lower_case", type=_boolean, default=True, metavar="BOOL", help="false for cased models (default: true)")
    add("--calib_batch", type=int, default=4, help="examples in a batch: memory, not the result (default: 4)")
    add("--bert_dir", metavar="DIR", help="a copy of google-research/bert, instead of the installed bert-tensorflow")
    arguments = parser.parse_args(arguments)
    if (arguments.train_file is None) == (arguments.task_name is None):
        parser.error("give either --train_file (SQuAD) or --task_name and --data_dir")
    if arguments.task_name is not None and arguments.data_dir is None:
        parser.error("--task_name needs --data_dir")
    for name in ("num_examples", "calib_batch"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if not 0 < arguments.percentile <= 100:
        parser.error("--percentile must be above 0 and at most 100")
    return arguments


def _boolean(word: str) -> bool:
    if word.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{word!r} is not true or false")
    return word.lower() in ("true", "1")


def calibrate(arguments: argparse.Namespace) -> str:
    """Does it; returns a line that says what was done."""
    from absl import flags
    from tqdm import tqdm

    import tf_fastbert.compat
    from tf_fastbert.checkpoint import Checkpoint

    checkpoint = Checkpoint(arguments.init_checkpoint).prefix  # the cheap checks first
    tf_fastbert.compat.install()
    from tf_fastbert.quantization import calibrate, examples, names, search
    from tf_fastbert.wrap import google, inputs

    start = time.monotonic()
    sizes = inputs.read_config(arguments.bert_config_file)
    inputs.check_vocab(arguments.vocab_file, sizes)
    squad = arguments.train_file is not None
    script = google.load("run_squad" if squad else "run_classifier", arguments.bert_dir)
    flags.FLAGS([sys.argv[0]], known_only=True)  # Google's functions read some
    tokenizer = script.tokenization.FullTokenizer(arguments.vocab_file, do_lower_case=arguments.do_lower_case)
    chosen: dict[str, Any] = {
        "num_examples": arguments.num_examples,
        "seed": arguments.seed,
        "max_seq_length": arguments.max_seq_length or (384 if squad else 128),
    }
    if chosen["max_seq_length"] > sizes.max_position_embeddings:
        raise ValueError(
            f"--max_seq_length={chosen['max_seq_length']}: the model has {sizes.max_position_embeddings} positions "
            f"({arguments.bert_config_file})"
        )
    if squad:
        windows = {"doc_stride": arguments.doc_stride, "max_query_length": arguments.max_query_length}
        features = examples.squad_features(script, arguments.train_file, tokenizer, **chosen, **windows)
    else:
        features = examples.glue_features(script, arguments.task_name, arguments.data_dir, tokenizer, **chosen)
    mode = BY_NAME[arguments.quant_mode]
    config = script.modeling.BertConfig.from_json_file(arguments.bert_config_file)
    batches = examples.batches(features, arguments.calib_batch)

    def bar(items: Any, what: str) -> Any:
        return tqdm(items, desc=what)

    histograms = calibrate.collect(script.modeling, config, checkpoint, batches, bar)
    if arguments.calib_method == "best":
        few = examples.batches(features[:_TRIAL_EXAMPLES], arguments.calib_batch)
        methods = search.best_methods(script.modeling, config, checkpoint, few, histograms, mode, bar)
    else:
        methods = dict.fromkeys(names.ACTIVATIONS, (arguments.calib_method, arguments.percentile))
    amax = calibrate.choose_ranges(histograms, calibrate.read_kernels(checkpoint), mode, methods)
    calibrate.write_calibrated(checkpoint, arguments.calibrated_checkpoint, amax)
    how = ", ".join(
        f"{field} {method}" + (f" {percentile:g}" if method == "percentile" else "")
        for field, (method, percentile) in sorted(methods.items())
        if field in mode.on
    )
    return (
        f"{arguments.calibrated_checkpoint}: {len(amax)} ranges for {arguments.quant_mode} from {len(features)} examples in "
        f"{time.monotonic() - start:.0f} s: {how}"
    )


@contextlib.contextmanager
def _quiet() -> Any:
    """Google's and TensorFlow's log lines are left out."""
    from tf_fastbert.wrap import logs

    logs.install(verbose=False)
    yield


def main() -> None:
    arguments = parse_arguments()
    from tf_fastbert.checkpoint import CheckpointError
    from tf_fastbert.quantization.examples import ExamplesError
    from tf_fastbert.wrap.errors import WrapError

    try:
        with _quiet():
            print(calibrate(arguments))
    except (CheckpointError, ExamplesError, WrapError, ImportError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
