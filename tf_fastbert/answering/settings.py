"""How passages are cut into windows and answers are chosen: the flags of Google's run_squad, with its defaults."""

from __future__ import annotations

import dataclasses

from tf_fastbert.wrap.errors import WrapError

_POSITIVE = ("doc_stride", "max_query_length", "max_answer_length", "n_best_size", "batch_size")
# What a window has besides the question and the passage: [CLS] and two [SEP].
_SPECIAL_TOKENS = 3


@dataclasses.dataclass(frozen=True)
class Settings:
    """
    Attributes:
      max_seq_length: tokens in a window, question included.
      doc_stride: tokens from the start of one window to the start of the next.
      max_query_length: longest question, in tokens.
      max_answer_length: longest answer, in tokens.
      n_best_size: how many answers are found for each question.
      batch_size: windows that go through the model at once: memory and speed, not the answers.
      version_2_with_negative: SQuAD 2.0: "no answer" is an answer too.
      null_score_diff_threshold: with it: "no answer" wins if its score is higher than the best answer's by more than this.

    Raises:
      WrapError: a number that cannot be, naming it.
    """

    max_seq_length: int = 384
    doc_stride: int = 128
    max_query_length: int = 64
    max_answer_length: int = 30
    n_best_size: int = 20
    batch_size: int = 8
    version_2_with_negative: bool = False
    null_score_diff_threshold: float = 0.0

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise WrapError(f"--{name}={getattr(self, name)}: it must be at least 1", status=2)
        if self.max_seq_length <= self.max_query_length + _SPECIAL_TOKENS:
            raise WrapError(
                f"--max_seq_length={self.max_seq_length}: it must be greater than --max_query_length "
                f"({self.max_query_length}) plus {_SPECIAL_TOKENS}",
                status=2,
            )

    def check_positions(self, max_position_embeddings: int) -> None:
        """Sees that the model has enough positions.

        Raises:
          WrapError: it has not.
        """
        if self.max_seq_length > max_position_embeddings:
            raise WrapError(
                f"--max_seq_length={self.max_seq_length}: the model has {max_position_embeddings} positions "
                "(max_position_embeddings in bert_config.json)"
            )
