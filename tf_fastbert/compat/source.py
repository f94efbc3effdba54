"""Import hook: in google-research/bert's modules `import tensorflow as tf` means `import tensorflow.compat.v1 as tf`.

That repository is written for TF1 and says `import tensorflow as tf`; PyPI's bert-tensorflow says
`import tensorflow.compat.v1 as tf` and passes through unchanged. The module's syntax tree is changed on its way to the
compiler; no file is written, line numbers stay, and only files are touched that are named like Google's and lie beside a
modeling.py that uses tf.contrib.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Sequence
from typing import Any

GOOGLE_MODULES = frozenset(
    {
        "modeling",
        "optimization",
        "tokenization",
        "run_squad",
        "run_classifier",
        "run_classifier_with_tfhub",
        "run_pretraining",
        "create_pretraining_data",
        "extract_features",
    }
)


def install() -> None:
    """Puts the hook in front of Python's own path finder, once, and tells of modules that came too early."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    # A module imported earlier has the TF2 module under the name tf.
    import tensorflow as tf2

    early = sorted(
        name
        for name, module in list(sys.modules.items())
        if vars(module).get("tf") is tf2 and _is_google(name, getattr(module, "__file__", None) or "")
    )
    if early:
        raise RuntimeError(f"tf_fastbert.compat.install() must come before these are imported: {', '.join(early)}")


def _is_google(module_name: str, path: str) -> bool:
    return module_name.rpartition(".")[2] in GOOGLE_MODULES and _holds_tf1_bert(os.path.dirname(path))


@functools.cache
def _holds_tf1_bert(folder: str) -> bool:
    try:
        with open(os.path.join(folder, "modeling.py"), encoding="utf-8") as file:
            return "tf.contrib." in file.read()
    except OSError:
        return False


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what PathFinder finds, and gives Google's modules our loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.rpartition(".")[2] not in GOOGLE_MODULES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        if not _is_google(fullname, spec.loader.path):
            return None
        spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles from source each time: neither reads nor writes the .pyc of the untouched module."""

    def get_code(self, fullname: str) -> types.CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> types.CodeType:  # type: ignore[override]
        tree = ast.parse(data, filename=path)
        return compile(_V1().visit(tree), path, "exec", dont_inherit=True, optimize=_optimize)


class _V1(ast.NodeTransformer):
    def visit_Import(self, node: ast.Import) -> ast.Import:
        for alias in node.names:
            if alias.name == "tensorflow" and alias.asname:
                alias.name = "tensorflow.compat.v1"
        return node
