"""The two scripts of Google's that are wrapped: what they need, read and write."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Split:
    """One TSV file of a classification task.

    Attributes:
        file: its name inside --data_dir.
        columns: how many columns Google's processor reads at least.
        label: index of the label's column, or None where Google's processor doesn't read it.
        header: whether the first line is skipped.
    """

    file: str
    columns: int
    label: int | None
    header: bool = True


@dataclasses.dataclass(frozen=True)
class Task:
    """A task that run_classifier.py knows: its labels and files, by "train", "eval" and "predict"."""

    labels: tuple[str, ...]
    splits: dict[str, Split]


_MNLI = ("contradiction", "entailment", "neutral")

# The processors of Google's run_classifier.py. A local copy (--bert_dir) may know more: those are left to its own checks.
TASKS = {
    "cola": Task(
        ("0", "1"),
        {
            "train": Split("train.tsv", 4, 1, header=False),
            "eval": Split("dev.tsv", 4, 1, header=False),
            "predict": Split("test.tsv", 2, None),
        },
    ),
    "mrpc": Task(
        ("0", "1"), {"train": Split("train.tsv", 5, 0), "eval": Split("dev.tsv", 5, 0), "predict": Split("test.tsv", 5, None)}
    ),
    "mnli": Task(
        _MNLI,
        {
            "train": Split("train.tsv", 10, -1),
            "eval": Split("dev_matched.tsv", 10, -1),
            "predict": Split("test_matched.tsv", 10, None),
        },
    ),
    "xnli": Task(_MNLI, {"train": Split("multinli/multinli.train.zh.tsv", 3, None), "eval": Split("xnli.dev.tsv", 8, 1)}),
}


@dataclasses.dataclass(frozen=True)
class Script:
    """One of Google's scripts.

    Attributes:
        name: its module's name.
        required: flags that must be given.
        phases: the --do_ flags that run the model without training it -> the TFRecord file in --output_dir that the phase reads.
        outputs: files in --output_dir that a failed run must not leave behind half written.
        pooler: whether the result depends on BERT's pooler.
    """

    name: str
    required: tuple[str, ...]
    phases: dict[str, str]
    outputs: tuple[str, ...]
    pooler: bool

    def head(self, hidden_size: int, num_labels: int | None) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the variables that the script adds on top of BERT; empty if the number of labels is not known."""
        prefix, rows = ("cls/squad/", 2) if self.name == "run_squad" else ("", num_labels)
        return {} if rows is None else {f"{prefix}output_weights": (rows, hidden_size), f"{prefix}output_bias": (rows,)}


RUN_SQUAD = Script(
    name="run_squad",
    required=("vocab_file", "bert_config_file", "output_dir"),
    phases={"do_predict": "eval.tf_record"},
    outputs=("predictions.json", "nbest_predictions.json", "null_odds.json"),
    pooler=False,
)

RUN_CLASSIFIER = Script(
    name="run_classifier",
    required=("data_dir", "task_name", "vocab_file", "bert_config_file", "output_dir"),
    phases={"do_eval": "eval.tf_record", "do_predict": "predict.tf_record"},
    outputs=("test_results.tsv",),
    pooler=True,
)

SCRIPTS = {script.name: script for script in (RUN_SQUAD, RUN_CLASSIFIER)}
