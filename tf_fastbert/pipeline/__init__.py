"""Google's Python around the encoder, made fast: tokens, features, the prediction loop, answers. No token or answer changes.

    from tf_fastbert import pipeline
    with pipeline.patched(run_squad):       # or run_classifier, of bert-tensorflow or of google-research/bert
        run_squad.main(...)

    words.py            WordTokenizer: a word is tokenized once
    ahead.py            SQuAD's features and answers in processes beside, ahead_worker.py; windows.py what travels
    squad_features.py   read_squad_examples, convert_examples_to_features
    records.py          FeatureWriter: the same records
    loop.py             TPUEstimator.predict: rows at little cost
    answers.py          write_predictions; n_best.py its choice, candidates.py the NumPy, final_text.py the texts
    sources.py          whether a function of Google's is the one that the replacement was made from

A function is replaced only if its source, and that of what it calls, is known: in a local copy that somebody changed, what was
changed stays in use, and so does what depends on it. Training keeps Google's code, with the faster tokenizer.
"""

from __future__ import annotations

import contextlib
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tf_fastbert.pipeline import answers, classifier, loop, records, sources, squad_features

__all__ = ["patch", "patched", "unpatch"]

_LOCK = threading.RLock()
_STATE = "_tf_fastbert_pipeline"
_Makers = dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]]


class _Replaced(NamedTuple):
    owner: Any
    name: str
    original: Any
    replacement: Any


def patch(script: types.ModuleType) -> list[str]:
    """Replaces what is slow in `script`, and TPUEstimator.predict. tf_fastbert.compat.install() must have been called.

    Args:
      script: Google's run_squad or run_classifier, under any name.

    Returns:
      The names of functions that keep their own code because it is not Google's as we know it.

    Raises:
      ValueError: `script` is neither, or is patched.
    """
    with _LOCK:
        if _STATE in vars(script):
            raise ValueError(f"{script.__name__} is patched already: unpatch it first")
        if hasattr(script, "write_predictions"):
            makers = _RUN_SQUAD
        elif hasattr(script, "file_based_convert_examples_to_features"):
            makers = _RUN_CLASSIFIER
        else:
            raise ValueError(f"{script.__name__} is neither Google's run_squad nor its run_classifier")
        known = {name: sources.known(script, needs) for name, (_, needs) in makers.items()}
        estimator = script.tf.estimator.tpu.TPUEstimator
        new = [(script, name, make(script)) for name, (make, _) in makers.items() if known[name]]
        new.append((estimator, "predict", loop.make_predict(estimator)))
        replaced = [_Replaced(owner, name, vars(owner)[name], replacement) for owner, name, replacement in new]
        for item in replaced:
            setattr(item.owner, item.name, item.replacement)
        setattr(script, _STATE, replaced)
        return [name for name in makers if not known[name]]


def unpatch(script: types.ModuleType) -> None:
    """Gives `script` its own functions back, except where somebody else replaced one since. Does nothing if it is not patched."""
    with _LOCK:
        for item in vars(script).get(_STATE, ()):
            if vars(item.owner).get(item.name) is item.replacement:
                setattr(item.owner, item.name, item.original)
        vars(script).pop(_STATE, None)


@contextlib.contextmanager
def patched(script: types.ModuleType) -> Iterator[list[str]]:
    """patch() as a context manager; yields what patch returns."""
    unchanged = patch(script)
    try:
        yield unchanged
    finally:
        unpatch(script)


# Name -> its replacement, and all of Google's that the replacement stands for.
_RUN_SQUAD: _Makers = {
    "read_squad_examples": (squad_features.make_read_squad_examples, ("read_squad_examples", "SquadExample")),
    "convert_examples_to_features": (
        squad_features.make_convert_examples_to_features,
        ("convert_examples_to_features", "InputFeatures", "_check_is_max_context", "tokenization"),
    ),
    "FeatureWriter": (records.make_feature_writer, ("FeatureWriter",)),
    "write_predictions": (
        answers.make_write_predictions,
        ("write_predictions", "get_final_text", "_get_best_indexes", "_compute_softmax", "tokenization"),
    ),
}
_RUN_CLASSIFIER: _Makers = {
    "file_based_convert_examples_to_features": (classifier.make_convert_examples_to_features, ("tokenization",)),
}
