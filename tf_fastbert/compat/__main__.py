"""Runs one of Google's BERT scripts, unchanged, on any supported TensorFlow.

python -m tf_fastbert.compat bert.run_squad --vocab_file=... ...
python -m tf_fastbert.compat path/to/google-research/bert/run_classifier.py --task_name=... ...
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    """Runs argv[0], a module name or a .py file, as __main__ with the rest as its arguments."""
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stdout if argv else sys.stderr)
        sys.exit(0 if argv else 2)
    name = argv[0]
    if name.endswith(".py"):
        if not os.path.isfile(name):
            sys.exit(f"no such file: {name}")
        # As `python file.py` does: its folder comes first on the path, which is where its neighbours are found.
        sys.path.insert(0, os.path.dirname(os.path.abspath(name)))
        name = os.path.basename(name)[: -len(".py")]

    from tf_fastbert.compat import install

    try:
        install()
    except ImportError as error:
        sys.exit(str(error))
    try:
        found = importlib.util.find_spec(name) is not None
    except ModuleNotFoundError as error:
        # find_spec imports the packages that the name begins with; what else they miss is not ours to explain.
        if not f"{name}.".startswith(f"{error.name}."):
            raise
        found = False
    if not found:
        sys.exit(f"no module {name}: Google's scripts are in bert-tensorflow (pip install --no-deps bert-tensorflow==1.0.4)")
    sys.argv = [name, *argv[1:]]
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
