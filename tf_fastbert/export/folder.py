"""A folder that is written elsewhere and renamed into its place: it is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

from tf_fastbert.export.settings import ExportError


@contextlib.contextmanager
def written_at_once(path: str, *, overwrite: bool = False) -> Iterator[str]:
    """Yields an empty folder beside `path`; when the body ends well it becomes `path`, otherwise it is removed.

    Args:
      overwrite: replace what is at `path`, if that is an empty folder or a SavedModel. It stays until the new one is complete.

    Raises:
      ExportError: `path` exists and may not be replaced, or its folder cannot be written to.
    """
    path = os.path.abspath(path)
    check_place(path, overwrite=overwrite)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.writing-", dir=os.path.dirname(path))
    except OSError as error:
        raise ExportError(f"--output_dir={path}: {error.strerror} ({error.filename})") from error
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())  # mkdtemp lets nobody else in
        check_place(path, overwrite=overwrite)  # somebody else may have written it meanwhile
        _replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_place(path: str, *, overwrite: bool) -> None:
    """See written_at_once."""
    if not os.path.lexists(path) or (os.path.isdir(path) and not os.listdir(path)):
        return
    if not overwrite:
        raise ExportError(f"--output_dir={path} exists: name another one, or pass --overwrite to replace it")
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise ExportError(f"--output_dir={path} exists and is no SavedModel: --overwrite replaces SavedModels only")


def _replace(temporary: str, path: str) -> None:
    if not os.path.lexists(path):
        os.rename(temporary, path)
        return
    old = tempfile.mkdtemp(prefix=f".{os.path.basename(path)}.old-", dir=os.path.dirname(path))
    try:
        os.rename(path, os.path.join(old, "folder"))
        os.rename(temporary, path)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
