"""What the wrapper begins before it imports TensorFlow, which takes seconds and, with a cold file cache, mostly waits for the disk."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence

from absl import flags

from tf_fastbert.wrap import flags as our_flags
from tf_fastbert.wrap.scripts import Script

_BOOLEANS = {"do_train": False, "do_predict": False, "do_lower_case": True, "preserve_unused_tokens": False}
_INTEGERS = {"max_seq_length": 384, "doc_stride": 128, "max_query_length": 64}
_STRINGS = ("vocab_file", "predict_file")


def _google_flags(argv: Sequence[str]) -> flags.FlagValues | None:
    """The flags of Google's that features depend on, before the module that defines them is imported; None if one is wrong."""
    values = flags.FlagValues()
    for name, default in _BOOLEANS.items():
        flags.DEFINE_bool(name, default, "", flag_values=values)
    for name, default in _INTEGERS.items():
        flags.DEFINE_integer(name, default, "", flag_values=values)
    for name in _STRINGS:
        flags.DEFINE_string(name, None, "", flag_values=values)
    try:
        our_flags.parse(argv, values, known_only=True)
    except Exception:  # Google's module will say what is wrong
        return None
    return values


def _bert_folder(bert_dir: str | None) -> str | None:
    if bert_dir is not None:
        return os.path.abspath(bert_dir)
    spec = importlib.util.find_spec("bert")
    return list(spec.submodule_search_locations)[0] if spec is not None and spec.submodule_search_locations else None


@contextlib.contextmanager
def begun(script: Script, argv: Sequence[str]) -> Iterator[None]:
    """Within the context, run_squad's features and answers are made in processes beside; see tf_fastbert.pipeline.ahead."""
    arguments = None
    if script.name == "run_squad" and flags.FLAGS.fast_python and not {"-h", "--help", "--helpfull", "--helpshort"} & set(argv):
        arguments = _arguments(argv)
    if arguments is None:
        yield
        return
    from tf_fastbert.pipeline import ahead

    with ahead.begun(ahead.Arguments(**arguments)):
        yield


def _arguments(argv: Sequence[str]) -> dict[str, object] | None:
    """What ahead.Arguments takes; None where nothing is to be predicted or something is out of the ordinary."""
    values = _google_flags(argv)
    folder = _bert_folder(flags.FLAGS.bert_dir)
    if values is None or folder is None or not values.do_predict or values.do_train or values.preserve_unused_tokens:
        return None
    files = [os.path.join(folder, "tokenization.py"), os.path.join(folder, "run_squad.py"), values.vocab_file, values.predict_file]
    if not all(name and os.path.isfile(name) for name in files) or values.max_seq_length <= values.max_query_length + 3:
        return None
    names = ("vocab_file", "do_lower_case", "predict_file", *_INTEGERS)
    return {"bert": folder, **{name: values[name].value for name in names}}
