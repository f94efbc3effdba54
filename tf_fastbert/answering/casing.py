"""Whether a model tells upper case from lower case. Imports no TensorFlow."""

from __future__ import annotations

import os


def is_cased(vocab_file: str | os.PathLike[str]) -> bool:
    """Whether a vocabulary has upper-case words, besides markers such as [CLS]: then texts must not be put into lower case."""
    with open(vocab_file, encoding="utf-8") as file:
        return any(token != token.lower() for token in file if not token.startswith("["))
