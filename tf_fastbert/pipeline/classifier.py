"""What is replaced in Google's run_classifier: the tokenizer under its features."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

from tf_fastbert.pipeline.words import faster


def make_convert_examples_to_features(run_classifier: types.ModuleType) -> Callable[..., None]:
    """run_classifier.file_based_convert_examples_to_features with a faster tokenizer."""
    original = run_classifier.file_based_convert_examples_to_features

    @functools.wraps(original)
    def file_based_convert_examples_to_features(
        examples: Sequence[Any], label_list: Sequence[str], max_seq_length: int, tokenizer: Any, output_file: str
    ) -> None:
        original(examples, label_list, max_seq_length, faster(tokenizer, run_classifier.tokenization), output_file)

    return file_based_convert_examples_to_features
