"""examples/question_answering.py: its flags, what is checked before TensorFlow is imported, and what each of its modes does."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from tf_fastbert.wrap.errors import WrapError

# TensorFlow, and our modules that need it, are imported inside functions: a wrong flag is answered before that takes its seconds.


def main(usage: str, arguments: Sequence[str] | None = None) -> None:
    """The whole program: ends the process with status 0, or with one line "error: ..." and status 1 or 2.

    Args:
      usage: what --help says: a summary, and details below it.
      arguments: the command line without the program's name; sys.argv's by default.
    """
    try:
        _run(parse(usage, arguments))
    except WrapError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)


def parse(usage: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads and checks the command line.

    Returns:
      The flags; `passage` and `questions` (a list) are texts, wherever they came from.

    Raises:
      WrapError: flags that contradict each other, a file that cannot be read, an empty text.
    """
    args = _parser(usage).parse_args(arguments)
    if args.engine is not None:
        raise WrapError("-e: no engine has to be built here: leave it out and give the checkpoint with -m (--init_checkpoint)", 2)
    if args.init_checkpoint is None:
        raise WrapError("-m (--init_checkpoint) is required: the directory, or the prefix, of a checkpoint fine-tuned on SQuAD", 2)
    args.questions = [" ".join(words) for words in args.question or []]
    if args.squad_json is not None:
        _check_squad_mode(args)
        return args
    if args.output_prediction_file is not None:
        raise WrapError("-o: it is where the answers to a SQuAD file go: give -sq too", 2)
    if args.passage is not None and args.passage_file is not None:
        raise WrapError("-p and -pf both give a passage: choose one", 2)
    given = args.passage is not None or args.passage_file is not None
    args.passage = " ".join(args.passage) if args.passage is not None else _read(args.passage_file) if given else ""
    if given and not args.passage.strip():
        raise WrapError(f"{'-p' if args.passage_file is None else f'-pf {args.passage_file}'}: the passage is empty", 2)
    if args.serve and args.questions:
        raise WrapError("-q and --serve: questions are typed into the page; leave -q out", 2)
    if not args.serve and not given:
        raise WrapError("no passage: give its text with -p, or a file with -pf (or -sq for a SQuAD file, --serve for the page)", 2)
    for number, question in enumerate(args.questions, 1):
        if not question.strip():
            raise WrapError(f"-q: question {number} is empty", 2)
    return args


def _check_squad_mode(args: argparse.Namespace) -> None:
    for name, flag in (("passage", "-p"), ("passage_file", "-pf"), ("question", "-q"), ("serve", "--serve")):
        if getattr(args, name):
            raise WrapError(f"-sq and {flag}: a SQuAD file brings its own passages and questions; leave {flag} out", 2)
    args.output_prediction_file = args.output_prediction_file or "predictions.json"
    path = args.output_prediction_file
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise WrapError(f"-o {path}: the directory {folder} does not exist")
    if os.path.isdir(path):
        raise WrapError(f"-o {path}: it is a directory; give a file")
    if not os.path.isfile(args.squad_json):
        raise WrapError(f"-sq {args.squad_json}: there is no such file")


def _read(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.buffer.read().decode("utf-8")
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise WrapError(f"-pf {path}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WrapError(f"-pf {path}: it is not a text file in UTF-8 (byte {error.start})") from error


def _run(args: argparse.Namespace) -> None:
    from tf_fastbert.wrap import logs

    logs.install(args.verbose)
    if args.serve:
        from tf_fastbert.answering import service

        service.check_installed()
    from tf_fastbert.answering import prompt

    answerer = _load(args)
    if args.squad_json is not None:
        from tf_fastbert.answering import squad_file

        print(squad_file.answer(answerer, args.squad_json, args.output_prediction_file))
        return
    prompt.warm_up(answerer)
    if args.serve:
        service.serve(answerer, args.host, args.port, args.passage)
    elif args.questions:
        prompt.answer(answerer, args.passage, args.questions, args.candidates)
    else:
        prompt.ask(answerer, args.passage, args.candidates)


def _load(args: argparse.Namespace) -> Any:
    from tf_fastbert.answering import QuestionAnswerer, Settings

    names = ("doc_stride", "max_query_length", "max_answer_length", "n_best_size", "batch_size", "version_2_with_negative",
             "null_score_diff_threshold")  # fmt: skip
    settings = Settings(max_seq_length=args.max_seq_length, **{name: getattr(args, name) for name in names})
    options = ("bert_config_file", "vocab_file", "floatx", "int8_mode", "precision", "remove_padding", "do_lower_case", "bert_dir")
    try:
        return QuestionAnswerer.load(args.init_checkpoint, settings=settings, **{name: getattr(args, name) for name in options})
    except ImportError as error:  # the op library, TensorFlow, what Google's code needs
        raise WrapError(str(error)) from error


def _boolean(word: str) -> bool:
    if word.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"{word!r} is not true or false")
    return word.lower() in ("true", "1")


def _port(word: str) -> int:
    if not word.isdecimal() or int(word) > 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is no port: a number from 0 (any free one) to 65535")
    return int(word)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise WrapError(f"{message} (--help lists the flags)", 2)


def _parser(usage: str) -> argparse.ArgumentParser:
    summary, _, details = usage.partition("\n")
    parser = _Parser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    text = parser.add_argument_group("what is asked")
    text.add_argument("-p", "--passage", nargs="+", metavar="TEXT", help="the passage")
    text.add_argument("-pf", "--passage-file", "--passage_file", metavar="FILE", help="a file with the passage; - is stdin")
    text.add_argument("-q", "--question", nargs="+", action="append", metavar="TEXT", help="a question; may be given several "
                      "times. Without it questions are asked for, until an empty line or Ctrl-D")
    text.add_argument("-sq", "--squad-json", "--squad_json", metavar="FILE", help="answers all questions of a SQuAD file")
    text.add_argument("-o", "--output-prediction-file", "--output_prediction_file", metavar="FILE", help="where -sq writes its "
                      "answers (default: predictions.json)")
    text.add_argument("--candidates", type=int, default=3, metavar="N", help="how many answers are shown (default: 3)")
    model = parser.add_argument_group("the model")
    model.add_argument("-m", "--init_checkpoint", metavar="DIR_OR_PREFIX", help="a checkpoint fine-tuned on SQuAD, in Google's "
                       "format: its directory, or its prefix such as dir/model.ckpt-1000")
    model.add_argument("-e", "--engine", help=argparse.SUPPRESS)
    model.add_argument("-c", "--bert_config_file", metavar="FILE", help="default: bert_config.json beside the checkpoint")
    model.add_argument("-v", "--vocab-file", "--vocab_file", dest="vocab_file", metavar="FILE", help="default: vocab.txt beside the "
                       "checkpoint")
    model.add_argument("--floatx", choices=("float32", "float16", "bfloat16"), help="type that the checkpoint must have (default: "
                       "the one it has; tools/ckpt_type_convert.py converts)")
    model.add_argument("--int8_mode", type=int, choices=(0, 1, 2, 3), default=0, help="for a checkpoint that "
                       "tools/ckpt_quantization.py wrote (default: 0)")
    model.add_argument("--precision", choices=("default", "tf32", "float32", "fp8"), default="default", help="of float32 products "
                       "on a GPU; fp8: for a checkpoint made for it (default: default)")
    model.add_argument("--remove_padding", type=_boolean, default=True, metavar="BOOL", help="default: true")
    model.add_argument("--do_lower_case", type=_boolean, default=None, metavar="BOOL", help="default: as the vocabulary says")
    model.add_argument("--bert_dir", metavar="DIR", help="a copy of google-research/bert instead of the installed bert-tensorflow")
    sizes = parser.add_argument_group("windows and answers (Google's flags and defaults)")
    sizes.add_argument("-s", "--sequence-length", "--max_seq_length", dest="max_seq_length", type=int, default=384, metavar="N",
                       help="tokens in a window of the passage, question included (default: 384)")
    for flag, default, what in (
        ("doc-stride", 128, "tokens from one window to the next"),
        ("max-query-length", 64, "longest question, in tokens"),
        ("max-answer-length", 30, "longest answer, in tokens"),
        ("n-best-size", 20, "answers that are found for a question; probabilities are among these"),
    ):
        sizes.add_argument(f"--{flag}", f"--{flag.replace('-', '_')}", type=int, default=default, metavar="N",
                           help=f"{what} (default: {default})")
    sizes.add_argument("-b", "--batch-size", "--batch_size", type=int, default=8, metavar="N", help="windows that go through the "
                       "model at once (default: 8)")
    sizes.add_argument("--version_2_with_negative", action="store_true", help="the model was trained on SQuAD 2.0: \"no answer\" is "
                       "an answer too")
    sizes.add_argument("--null_score_diff_threshold", type=float, default=0.0, metavar="X", help="with it: how much higher \"no "
                       "answer\" must score (default: 0)")
    page = parser.add_argument_group("the page")
    page.add_argument("--serve", action="store_true", help="opens a local web page to ask on, and a JSON endpoint")
    page.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    page.add_argument("--port", type=_port, default=8000, help="default: 8000; 0: any free one")
    parser.add_argument("--verbose", action="store_true", help="all of TensorFlow's log lines")
    return parser
