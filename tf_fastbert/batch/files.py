"""Files on this machine, and those of other file systems (gs://, hdfs://, s3:// ...) through Apache Beam."""

from __future__ import annotations

import glob
import os
import uuid
from typing import IO, Any, NamedTuple

from tf_fastbert.batch import BatchError


class File(NamedTuple):
    path: str
    size: int  # bytes


def _is_local(path: str) -> bool:
    return "://" not in path


def _file_systems(path: str) -> Any:
    try:
        from apache_beam.io.filesystems import FileSystems
    except ImportError as error:
        raise BatchError(f"{path} is not on this machine: that needs Apache Beam (pip install 'tf_fastbert[beam]')") from error
    return FileSystems


def match(pattern: str) -> list[File]:
    """The files that a path or a pattern (*, ?) names, sorted by name."""
    if _is_local(pattern):
        paths = [pattern] if os.path.isfile(pattern) else glob.glob(pattern)
        return [File(path, os.path.getsize(path)) for path in sorted(paths) if os.path.isfile(path)]
    found = _file_systems(pattern).match([pattern])[0].metadata_list
    return sorted(File(entry.path, entry.size_in_bytes) for entry in found)


def open_to_read(path: str) -> IO[bytes]:
    """The file's bytes as they are; seekable."""
    if _is_local(path):
        return open(path, "rb")
    from apache_beam.io.filesystem import CompressionTypes

    return _file_systems(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def exists(path: str) -> bool:
    return os.path.exists(path) if _is_local(path) else _file_systems(path).exists(path)


def make_folder(path: str) -> None:
    """Makes a folder if it is not there; where there are no folders it does nothing."""
    if _is_local(path):
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise BatchError(f"{path} cannot be made: {error.strerror}") from error
    elif not _file_systems(path).exists(path):
        try:
            _file_systems(path).mkdirs(path)
        except OSError:  # made by somebody else meanwhile
            pass


def write(path: str, content: bytes) -> None:
    """Writes a file so that it is there as a whole or not at all. One that is there is replaced."""
    temporary = f"{path}.{uuid.uuid4().hex[:12]}.writing"
    if _is_local(path):
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            if os.path.exists(temporary):
                os.remove(temporary)
            raise
        return
    from apache_beam.io.filesystem import CompressionTypes

    systems = _file_systems(path)
    with systems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
        file.write(content)
    if systems.exists(path):
        systems.delete([path])
    systems.rename([temporary], [path])


def remove(path: str) -> None:
    """Removes a file."""
    if _is_local(path):
        os.remove(path)
    else:
        _file_systems(path).delete([path])


def read(path: str) -> bytes:
    with open_to_read(path) as file:
        return file.read()


def join(folder: str, name: str) -> str:
    return os.path.join(folder, name) if _is_local(folder) else f"{folder.rstrip('/')}/{name}"
