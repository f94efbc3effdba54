"""Imports Google's script: from the installed bert-tensorflow, or from a local copy of google-research/bert."""

from __future__ import annotations

import importlib
import os
import re
import sys
import types

from tf_fastbert.wrap.errors import WrapError

_PACKAGE_IMPORT = re.compile(r"^\s*(from bert import|import bert\b|from bert\.)", re.MULTILINE)


def load(script: str, bert_dir: str | None) -> types.ModuleType:
    """Imports `script` ("run_squad" or "run_classifier"); its modeling module is the attribute `modeling`.

    tf_fastbert.compat.install() must have been called.

    Args:
        bert_dir: None for the installed package; else a directory with Google's files, written either as a flat directory
            (`import modeling`, google-research/bert) or as a package (`from bert import modeling`, bert-tensorflow).

    Raises:
        WrapError: there is no such script.
    """
    if bert_dir is None:
        try:
            return importlib.import_module(f"bert.{script}")
        except ModuleNotFoundError as error:
            if error.name not in ("bert", f"bert.{script}"):
                raise
            raise WrapError(
                f"Google's BERT is not installed (no module bert.{script}): pip install --no-deps bert-tensorflow==1.0.4, or "
                "name a copy of google-research/bert with --bert_dir"
            ) from error
    path = os.path.join(bert_dir, f"{script}.py")
    if not os.path.isfile(path):
        raise WrapError(f"--bert_dir={bert_dir}: no {script}.py in it; it must be a copy of google-research/bert")
    with open(path, encoding="utf-8") as source:
        package = _PACKAGE_IMPORT.search(source.read()) is not None
    bert_dir = os.path.abspath(bert_dir)
    if not package:
        sys.path.insert(0, bert_dir)
        return importlib.import_module(script)
    # The directory can have any name, so it is not looked up as `bert` on a path: the package is made here.
    bert = types.ModuleType("bert")
    bert.__path__ = [bert_dir]
    sys.modules["bert"] = bert
    return importlib.import_module(f"bert.{script}")
