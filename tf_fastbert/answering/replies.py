"""What a QuestionAnswerer returns. All of it is plain Python values."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Answer:
    """One of the n best answers.

    Attributes:
      text: the answer; "" means "there is no answer in the passage" (SQuAD 2.0 only).
      start, end: the characters passage[start:end] are the answer; None where text is "". Runs of white space in between are one
        blank in `text`. Characters are Python's: code points.
      probability: among the n best answers, as in nbest_predictions.json.
      start_logit, end_logit: what the model says of the first and the last token.
    """

    text: str
    start: int | None
    end: int | None
    probability: float
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        """start_logit + end_logit, by which answers are ordered."""
        return self.start_logit + self.end_logit


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds of a call; of all its questions, where it had several."""

    tokenize_ms: float
    model_ms: float
    postprocess_ms: float

    @property
    def total_ms(self) -> float:
        return self.tokenize_ms + self.model_ms + self.postprocess_ms


@dataclasses.dataclass(frozen=True)
class Reply:
    """The answers to one question.

    Attributes:
      text: the answer; "" if there is none.
      answers: the n best with different texts, the best first; empty if the model found none at all.
      windows: how many pieces the passage was cut into for this question.
      null_score_diff: SQuAD 2.0: score of "no answer" less that of the best answer; else None.
      latency: of the call that this question was part of.
    """

    question: str
    text: str
    answers: tuple[Answer, ...]
    windows: int
    null_score_diff: float | None
    latency: Latency

    @property
    def best(self) -> Answer | None:
        """The Answer that `text` comes from; None if there is no answer."""
        return next((answer for answer in self.answers if answer.text), None) if self.text else None
