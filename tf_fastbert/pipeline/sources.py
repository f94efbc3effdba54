"""Whether a function of Google's is the one that its replacement was made from.

Compared are digests of the source as Python's tokenizer sees it: comments, docstrings and blank lines don't count.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import tokenize
import types
from collections.abc import Iterable
from typing import Any

_IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
_LINE_STARTS = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
# What the tokens of a text depend on. preserve_token is in bert-tensorflow only.
_TOKENIZATION = (
    "convert_to_unicode",
    "load_vocab",
    "convert_by_vocab",
    "whitespace_tokenize",
    "preserve_token",
    "FullTokenizer",
    "BasicTokenizer",
    "WordpieceTokenizer",
    "_is_whitespace",
    "_is_control",
    "_is_punctuation",
)


def known(script: types.ModuleType, names: Iterable[str]) -> bool:
    """Whether all that `names` name in `script` has a source that we know; "tokenization" means that module's classes."""
    return all(digest(script, name) in KNOWN.get(name, ()) for name in names)


def digest(script: types.ModuleType, name: str) -> str | None:
    """The digest of a function or class of `script`, or of its tokenization module; None if it has none or hides its source."""
    value = getattr(script, name, None)
    if name != "tokenization":
        return _digest([value])
    return _digest([getattr(value, part) for part in _TOKENIZATION if hasattr(value, part)])


def _digest(values: Iterable[Any]) -> str | None:
    sha = hashlib.sha256()
    for value in values:
        # Somebody's wrapper hides another function behind the source of the wrapped one.
        if value is None or hasattr(value, "__wrapped__"):
            return None
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError):
            return None
        sha.update(" ".join(_words(source)).encode())
    return sha.hexdigest()[:16]


def _words(source: str) -> list[str]:
    words, before = [], tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _IGNORED:
            continue
        if not (token.type == tokenize.STRING and before in _LINE_STARTS):
            words.append({tokenize.INDENT: ">", tokenize.DEDENT: "<"}.get(token.type, token.string.strip()))
        before = token.type
    return words


# Name -> digests, those of bert-tensorflow 1.0.4 and google-research/bert (eedf571, its last commit).
KNOWN: dict[str, tuple[str, ...]] = {
    "FeatureWriter": ("8547e8898ad2d4bd",),
    "InputFeatures": ("5cfb705c8bb0885f",),
    "SquadExample": ("1cc5f72ec1492d9e",),
    "_check_is_max_context": ("da4f6eb74771dbcd",),
    "_compute_softmax": ("8b3e4f9347576087",),
    "_get_best_indexes": ("91e4fcc029253b92",),
    "convert_examples_to_features": ("95456975641f2ca8",),
    "get_final_text": ("d167e9507aee172e",),
    "main": ("9e1bf5ac5cbc43b3",),  # run_squad's, of bert-tensorflow alone
    "read_squad_examples": ("149b2c1986d6bf10",),
    "tokenization": ("19008d8b912ae185", "1f1a35884d073fdf"),
    "write_predictions": ("9dac78dae2f34018",),
}
