"""Tables of tuned matrix products: which of cuBLASLt's algorithms was the fastest for a shape, measured on a GPU.

tools/gemm_tune.py writes them, the op library takes them when it is loaded. A table names the GPU and the version of cuBLASLt it
was measured with and is used only where both are the same; elsewhere, and without any table, cuBLASLt's own first choice is
taken. Three places are read, a later one winning:

  1. tf_fastbert/tuned_gemms/*.txt, which come with the package
  2. the user's own, in user_folder()
  3. the files named by the environment variable TF_FASTBERT_GEMM_TABLES, separated like PATH; empty: no table at all
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import warnings
from collections.abc import Iterator

_ENVIRONMENT = "TF_FASTBERT_GEMM_TABLES"


def user_folder() -> pathlib.Path:
    """Where tools/gemm_tune.py puts tables unless told otherwise: tf_fastbert/gemm_tables in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "tf_fastbert" / "gemm_tables"


def _in_folder(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("*.txt"))


def table_files() -> Iterator[pathlib.Path]:
    """The files to read, in the order of reading."""
    named = os.environ.get(_ENVIRONMENT)
    if named == "":
        return
    yield from _in_folder(pathlib.Path(__file__).resolve().parent / "tuned_gemms")
    yield from _in_folder(user_folder())
    if named:
        yield from map(pathlib.Path, named.split(os.pathsep))


def made_for(path: pathlib.Path) -> list[tuple[str, int]]:
    """The GPU's name and cuBLASLt's version (130100: 13.1.0) of each table in a file; none if it cannot be read."""
    found, gpu = [], ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "gpu":
            gpu = rest
        elif word == "cublaslt" and rest.isdigit():
            found.append((gpu, int(rest)))
    return found


def load(library: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Hands all tables to the op library at `library`, a file built with CUDA, and returns which files were taken.

    A file that cannot be read or is damaged is left out with a warning that names it: everything works without it, less fast.
    """
    take = ctypes.CDLL(os.fspath(library)).fastbert_cuda_load_tuned_table
    take.restype, take.argtypes = ctypes.c_int32, [ctypes.c_char_p]
    last_error = ctypes.CDLL(os.fspath(library)).fastbert_cuda_last_error
    last_error.restype, last_error.argtypes = ctypes.c_char_p, []
    taken = []
    for path in table_files():
        try:
            problem = None if take(path.read_bytes()) == 0 else last_error().decode()
        except OSError as error:
            problem = str(error)
        if problem is None:
            taken.append(path)
        else:
            warnings.warn(f"{path} is not used: {problem}", RuntimeWarning, stacklevel=2)
    return taken
