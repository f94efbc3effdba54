"""QuestionAnswerer: a passage and questions in, replies out."""

from __future__ import annotations

import time
import types
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tf_fastbert.answering import model, model_files
from tf_fastbert.answering.casing import is_cased
from tf_fastbert.answering.errors import QuestionError
from tf_fastbert.answering.passage import Passage
from tf_fastbert.answering.replies import Answer, Latency, Reply
from tf_fastbert.answering.settings import Settings
from tf_fastbert.pipeline import n_best, sources, squad_features, words
from tf_fastbert.pipeline.final_text import FinalText
from tf_fastbert.pipeline.windows import Window
from tf_fastbert.wrap import inputs
from tf_fastbert.wrap.errors import WrapError
from tf_fastbert.wrap.quantized import Wanted

# Windows are padded to a multiple of this: fewer different shapes for a GPU to make graphs for.
_ROUND_TO = 32
# A logit of padding that was not computed: the constant that the patch gives padding.
_PADDING = -10000.0
# What the answers stand on; a copy of Google's code in which one of them was changed answers otherwise.
_NEEDED = ("SquadExample", "InputFeatures", "convert_examples_to_features", "_check_is_max_context", "tokenization",
           "write_predictions", "get_final_text", "_get_best_indexes", "_compute_softmax")  # fmt: skip


class QuestionAnswerer:
    """Answers questions about passages. Threads may share one.

    Attributes:
      files: the model's.
      settings: see Settings.
      do_lower_case: whether texts are put into lower case first.
    """

    def __init__(
        self,
        files: model_files.ModelFiles,
        call: model.Model,
        run_squad: types.ModuleType,
        settings: Settings = Settings(),
        do_lower_case: bool | None = None,
    ) -> None:
        """`load` does all of it.

        Args:
          call: what model.build returns.
          run_squad: Google's module, as it is or as model.build had it.
          do_lower_case: by default as the vocabulary says.

        Raises:
          WrapError: a setting that the model cannot do, or a module that somebody changed.
        """
        settings.check_positions(files.sizes.max_position_embeddings)
        changed = [name for name in _NEEDED if not sources.known(run_squad, [name])]
        if changed:
            raise WrapError(
                f"{run_squad.__file__}: {', '.join(changed)} is not as Google wrote it, so the answers would not be its own: use "
                "examples/run_squad_wrap.py with this copy, or the installed bert-tensorflow here"
            )
        self.files, self.settings = files, settings
        self.do_lower_case = not is_cased(files.vocab_file) if do_lower_case is None else do_lower_case
        self._model, self._google = call, run_squad
        tokenizer = run_squad.tokenization.FullTokenizer(files.vocab_file, do_lower_case=self.do_lower_case)
        self._words = words.faster(tokenizer, run_squad.tokenization)
        if not isinstance(self._words, words.WordTokenizer):
            raise WrapError("--preserve_unused_tokens: only examples/run_squad_wrap.py can do that")

    @classmethod
    def load(
        cls,
        init_checkpoint: str,
        *,
        bert_config_file: str | None = None,
        vocab_file: str | None = None,
        floatx: str | None = None,
        int8_mode: int = 0,
        precision: str = "default",
        remove_padding: bool = True,
        do_lower_case: bool | None = None,
        settings: Settings = Settings(),
        stock: bool = False,
        bert_dir: str | None = None,
        run_squad: types.ModuleType | None = None,
    ) -> QuestionAnswerer:
        """Loads a model fine-tuned by Google's run_squad.

        Args:
          init_checkpoint: a checkpoint's prefix, or its directory.
          bert_config_file, vocab_file: by default bert_config.json and vocab.txt beside the checkpoint.
          floatx: the type that the checkpoint must have; by default the one that it has.
          int8_mode, precision, remove_padding: as in tf_fastbert.patch; int8_mode and precision="fp8" need a quantized checkpoint.
          do_lower_case: by default as the vocabulary says: false where it has upper-case words.
          stock: Google's own encoder instead of the op, to compare with.
          bert_dir: a copy of google-research/bert to be used instead of the installed bert-tensorflow.
          run_squad: Google's module, where the program has imported it already. By default tf_fastbert.compat.install() is called,
            which turns TensorFlow 2 behaviour off in the whole process, and it is imported.

        Raises:
          WrapError: one sentence about the file or option that is wrong.
          ImportError: the op library, or what Google's code needs, is missing.
        """
        files = model_files.find(
            init_checkpoint,
            bert_config_file=bert_config_file,
            vocab_file=vocab_file,
            floatx=floatx,
            wanted=Wanted(int8_mode, precision == "fp8"),
        )
        settings.check_positions(files.sizes.max_position_embeddings)
        google = run_squad or _google_run_squad(bert_dir)
        call = model.build(
            files, google, int8_mode=int8_mode, precision=precision, remove_padding=remove_padding, stock=stock
        )
        return cls(files, call, google, settings, do_lower_case)

    def ask(self, passage: str, question: str) -> Reply:
        """Answers one question.

        Raises:
          QuestionError: the passage or the question is empty, or the question too long.
        """
        return self.ask_all(passage, [question])[0]

    def ask_all(self, passage: str, questions: Sequence[str]) -> list[Reply]:
        """Answers several questions about one passage; their windows go through the model together.

        Raises:
          QuestionError: the passage or a question is empty, or a question too long.
        """
        times = [time.perf_counter()]
        place = Passage(passage)
        if not place.words:
            raise QuestionError("the passage is empty")
        for question in questions:
            self._check_question(question)
        examples = [
            self._google.SquadExample(qas_id=str(i), question_text=question, doc_tokens=place.words)
            for i, question in enumerate(questions)
        ]
        features = self._features(examples)
        if questions and not features:
            raise QuestionError("the passage has no text that the tokenizer keeps")
        times.append(time.perf_counter())
        results = self._results(features)
        times.append(time.perf_counter())
        final_text = FinalText(self._google, self.do_lower_case)
        found = list(self._find(examples, features, results, final_text))
        answers = [_answers(one, place, final_text) for one in found]
        times.append(time.perf_counter())
        latency = Latency(*(1e3 * (after - before) for before, after in zip(times, times[1:])))
        return [
            Reply(question, self._text(one), several, len(one.windows), self._null_score_diff(one), latency)
            for question, one, several in zip(questions, found, answers)
        ]

    def read_squad(self, path: str) -> list[Any]:
        """The questions of a SQuAD file, as Google's SquadExamples.

        Raises:
          WrapError: it is no SQuAD file, or has no question; the message names the place.
        """
        inputs.check_squad(path, "squad_json", training=False)
        return squad_features.make_read_squad_examples(self._google)(path, False)

    def predict(self, examples: Sequence[Any]) -> dict[str, str]:
        """Question id -> answer, as in run_squad's predictions.json. Questions that are too long are cut, as there.

        Args:
          examples: SquadExamples, such as a part of what read_squad returns.
        """
        # A paragraph without a word has no window; Google's code answers so, and fails on it with SQuAD 2.0.
        predictions = {example.qas_id: "" if self.settings.version_2_with_negative else n_best.NOTHING for example in examples}
        examples = [example for example in examples if self._words.encode_words(example.doc_tokens)[0]]
        features = self._features(examples)
        final_text = FinalText(self._google, self.do_lower_case)
        for found in self._find(examples, features, self._results(features), final_text):
            predictions[found.example.qas_id] = self._text(found) if found.null else found.entries[0].text
        return predictions

    def _check_question(self, question: str) -> None:
        tokens = len(self._words.tokenize(question))
        if not tokens:
            raise QuestionError("the question is empty")
        if tokens > self.settings.max_query_length:
            start = question if len(question) <= 60 else question[:60] + " ..."
            raise QuestionError(
                f"the question has {tokens} tokens, {self.settings.max_query_length} are possible (--max_query_length): shorten it: "
                f"{start!r}"
            )

    def _features(self, examples: Sequence[Any]) -> list[Window]:
        settings = self.settings
        texts = ((example.question_text, example.doc_tokens, False) for example in examples)
        sizes = (settings.max_seq_length, settings.doc_stride, settings.max_query_length)
        return list(squad_features.make_windows(texts, self._words, *sizes))

    def _results(self, features: Sequence[Window]) -> dict[int, Any]:
        """Unique id -> RawResult."""
        results: dict[int, Any] = {}
        for first in range(0, len(features), self.settings.batch_size):
            batch = features[first : first + self.settings.batch_size]
            arrays = [
                np.array([getattr(feature, name) for feature in batch], np.int32)
                for name in ("input_ids", "input_mask", "segment_ids")
            ]
            longest = int(arrays[1].sum(axis=1).max())
            length = min(-(-longest // _ROUND_TO) * _ROUND_TO, self.settings.max_seq_length)
            logits = self._model(*(array[:, :length] for array in arrays))
            # A question's windows may be in several batches, of different lengths.
            pad = [_PADDING] * (self.settings.max_seq_length - length)
            for feature, start, end in zip(batch, *(values.tolist() for values in logits)):
                results[feature.unique_id] = self._google.RawResult(feature.unique_id, start + pad, end + pad)
        return results

    def _find(
        self, examples: Sequence[Any], features: Sequence[Window], results: dict[int, Any], final_text: FinalText
    ) -> Iterator[n_best.Found]:
        settings = self.settings
        sizes = (settings.n_best_size, settings.max_answer_length)
        try:
            groups = n_best.by_example(examples, features)
            yield from n_best.find(final_text, examples, groups, results, *sizes, settings.version_2_with_negative)
        except n_best.Unusual as error:
            raise WrapError(
                f"{self.files.checkpoint}: the model's logits are not finite numbers (in {self.files.floatx}; do they fit into "
                "that type?)"
            ) from error

    def _text(self, found: n_best.Found) -> str:
        """The answer; "" if there is none."""
        best = found.best()
        if best is None or best.window < 0:
            return ""
        return "" if found.null and found.null_difference(best) > self.settings.null_score_diff_threshold else best.text

    def _null_score_diff(self, found: n_best.Found) -> float | None:
        best = found.best()
        return found.null_difference(best) if found.null and best else None


def _answers(found: n_best.Found, passage: Passage, final_text: FinalText) -> tuple[Answer, ...]:
    answers = []
    for entry, probability in zip(found.entries, n_best.probabilities(found.entries)):
        start = end = None
        if entry.window >= 0:
            place = final_text.place(found.windows[entry.window], entry.start, entry.end, found.example.doc_tokens)
            start, end = passage.characters(*place)
        elif entry.text:  # n_best.NOTHING
            continue
        answers.append(Answer(entry.text, start, end, probability, entry.start_logit, entry.end_logit))
    return tuple(answers)


def _google_run_squad(bert_dir: str | None) -> types.ModuleType:
    import tf_fastbert.compat

    tf_fastbert.compat.install()
    from absl import flags

    from tf_fastbert.wrap import google

    module = google.load("run_squad", bert_dir)
    if not flags.FLAGS.is_parsed():  # Google's functions read some; a program that has flags of its own parses them itself
        flags.FLAGS.mark_as_parsed()
    return module
