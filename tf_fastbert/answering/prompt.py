"""Questions and answers on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from tf_fastbert.answering.answerer import QuestionAnswerer
from tf_fastbert.answering.errors import QuestionError
from tf_fastbert.answering.replies import Reply
from tf_fastbert.wrap.errors import WrapError

_PROMPT = "Question: "


def warm_up(answerer: QuestionAnswerer) -> None:
    """Answers something, so that the first real question's latency is not that of preparing weights and memory."""
    answerer.ask("warm up", "warm up")


def answer(answerer: QuestionAnswerer, passage: str, questions: Sequence[str], candidates: int) -> None:
    """Prints the passage and the answers to `questions`.

    Raises:
      WrapError: a question cannot be answered; those before it have been.
    """
    print(f"Passage: {passage.strip()}\n")
    for question in questions:
        try:
            reply = answerer.ask(passage, question)
        except QuestionError as error:
            raise WrapError(str(error)) from error
        print(f"{_PROMPT}{question}\n{report(reply, candidates)}\n", flush=True)


def ask(answerer: QuestionAnswerer, passage: str, candidates: int) -> None:
    """Asks for questions and answers them, until an empty line or the end of the input."""
    terminal = sys.stdin.isatty()
    if terminal:
        print(f"Passage: {passage.strip()}\n\nAn empty line or Ctrl-D ends.\n")
    for question in _questions(terminal):
        try:
            reply = answerer.ask(passage, question)
        except QuestionError as error:
            print(f"error: {error}\n", file=sys.stderr, flush=True)
            continue
        if not terminal:
            print(f"{_PROMPT}{question}")
        print(f"{report(reply, candidates)}\n", flush=True)


def _questions(terminal: bool) -> Iterator[str]:
    if terminal:
        try:
            import readline  # noqa: F401 (input() then has a history and the usual keys)
        except ImportError:
            pass
    while True:
        try:
            question = input(_PROMPT if terminal else "")
        except EOFError:
            if terminal:
                print()
            return
        except UnicodeDecodeError:
            raise WrapError("the questions on stdin are not text in UTF-8") from None
        if not question.strip():
            return
        yield question


def report(reply: Reply, candidates: int) -> str:
    """A reply as a few lines of text.

    Args:
      candidates: how many of the n best answers are shown.
    """
    if reply.best is None:
        lines = ["Answer: none in this passage"]
    else:
        best = reply.best
        lines = [
            f"Answer: {best.text!r}",
            f"With probability: {100 * best.probability:.2f} %, score {best.score:.2f}, characters {best.start} to {best.end}",
        ]
    others = [answer for answer in reply.answers if answer is not reply.best][: max(candidates - 1, 0)]
    if others:
        lines.append("Other answers: " + ", ".join(f"{a.text or 'none'!r} ({100 * a.probability:.2f} %)" for a in others))
    latency = reply.latency
    lines.append(
        f"Milliseconds: tokens {latency.tokenize_ms:.2f}, model {latency.model_ms:.2f} ({reply.windows} "
        f"window{'s' if reply.windows > 1 else ''}), answer {latency.postprocess_ms:.2f}"
    )
    return "\n".join(lines)
