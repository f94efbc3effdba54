"""The user's data as batches for calibration: a random sample of it, through the readers and tokenizer of Google's scripts."""

from __future__ import annotations

import gzip
import json
import os
import random
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from tf_fastbert.quantization.calibrate import Batch


class ExamplesError(Exception):
    """A data file is missing, unreadable or of the wrong kind."""


def squad_features(
    run_squad: Any,
    path: str,
    tokenizer: Any,
    *,
    num_examples: int,
    seed: int = 0,
    max_seq_length: int = 384,
    doc_stride: int = 128,
    max_query_length: int = 64,
) -> list[Any]:
    """Google's features (windows) of `num_examples` questions of a SQuAD file, which may be gzipped.

    Raises:
      ExamplesError: no such file, no SQuAD JSON, or no question in it.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.endswith(".gz") else open(path, encoding="utf-8") as file:
            articles = json.load(file)["data"]
        # A paragraph for each question: what Google's reader makes of a file depends on nothing else in it.
        paragraphs = [
            {"context": paragraph["context"], "qas": [question]}
            for article in articles
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ]
    except OSError as error:
        raise ExamplesError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ExamplesError(f'{path}: not a SQuAD file ({{"data": [{{"paragraphs": ...}}]}}): {error!r}') from error
    if not paragraphs:
        raise ExamplesError(f"{path}: there is no question in it")
    with tempfile.TemporaryDirectory(prefix="fastbert_") as folder:
        sample = os.path.join(folder, "sample.json")
        with open(sample, "w", encoding="utf-8") as file:
            json.dump({"data": [{"title": "", "paragraphs": _sample(paragraphs, num_examples, seed)}]}, file)
        examples = run_squad.read_squad_examples(input_file=sample, is_training=False)
    features: list[Any] = []
    run_squad.convert_examples_to_features(
        examples=examples,
        tokenizer=tokenizer,
        max_seq_length=max_seq_length,
        doc_stride=doc_stride,
        max_query_length=max_query_length,
        is_training=False,
        output_fn=features.append,
    )
    return features


def glue_features(
    run_classifier: Any,
    task_name: str,
    data_dir: str,
    tokenizer: Any,
    *,
    num_examples: int,
    seed: int = 0,
    max_seq_length: int = 128,
) -> list[Any]:
    """Google's features of `num_examples` training examples of a GLUE task that run_classifier.py knows.

    Raises:
      ExamplesError: an unknown task, or no such file.
    """
    processors = {
        name.removesuffix("Processor").lower(): value
        for name, value in vars(run_classifier).items()
        if name.endswith("Processor") and name != "DataProcessor"
    }
    if task_name.lower() not in processors:
        raise ExamplesError(f"--task_name={task_name}: Google's run_classifier.py knows {', '.join(sorted(processors))}")
    processor = processors[task_name.lower()]()
    import tensorflow as tf

    try:
        examples = _sample(processor.get_train_examples(data_dir), num_examples, seed)
    except (OSError, tf.errors.OpError) as error:
        raise ExamplesError(f"--data_dir={data_dir}: {getattr(error, 'message', error)}") from error
    except IndexError as error:
        raise ExamplesError(f"--data_dir={data_dir}: train.tsv has fewer columns than {task_name} needs") from error
    if not examples:
        raise ExamplesError(f"--data_dir={data_dir}: there is no training example in it")
    labels = processor.get_labels()
    return [
        run_classifier.convert_single_example(index, example, labels, max_seq_length, tokenizer)
        for index, example in enumerate(examples)
    ]


def batches(features: Sequence[Any], batch_size: int) -> list[Batch]:
    """Batches of features of about the same length, each as wide as its longest."""
    if not features:
        raise ExamplesError("the data gave no example")
    lengths = [int(np.sum(feature.input_mask)) for feature in features]
    order = sorted(range(len(features)), key=lambda i: lengths[i])
    result = []
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = max(lengths[i] for i in chosen)
        result.append(
            Batch(
                *(
                    np.array([getattr(features[i], name)[:width] for i in chosen], np.int32)
                    for name in ("input_ids", "input_mask", "segment_ids")
                )
            )
        )
    return result


def _sample(items: Sequence[Any], count: int, seed: int) -> list[Any]:
    """`count` of the items, in their order; all if there are fewer."""
    chosen = sorted(random.Random(seed).sample(range(len(items)), min(count, len(items))))
    return [items[i] for i in chosen]
