"""The input cut into shards, and the rows of a shard.

A shard of a JSONL file is a range of its bytes: it has the lines that begin there. A shard of a Parquet file is a range of rows of
one row group. Cutting needs no look at the rows, so that it takes no time for files of any size. A .jsonl.gz is one shard, as gzip
cannot be entered in the middle.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

from tf_fastbert.batch import BatchError, files
from tf_fastbert.batch.rows import BadRow, Fields, Row

KINDS = ("jsonl", "jsonl.gz", "parquet")


@dataclasses.dataclass(frozen=True)
class Shard:
    """A part of the input.

    Attributes:
      index: its number, from 0.
      path, kind: its file, and one of KINDS.
      begin, end: bytes of a JSONL file; rows of row group `row_group` of a Parquet file.
    """

    index: int
    path: str
    kind: str
    begin: int
    end: int
    row_group: int = -1

    def where(self, position: int) -> str:
        """A row's place in words: `position` is its byte, its line in a gzip file, or its number in its row group."""
        if self.kind == "parquet":
            return f"{self.path}, row {position} of row group {self.row_group}"
        return f"{self.path}, line {position + 1}" if self.kind == "jsonl.gz" else f"{self.path}, the line at byte {position}"


class Bad(NamedTuple):
    """A row that cannot be answered."""

    where: str
    why: str


def plan(patterns: Sequence[str], shard_bytes: int) -> list[Shard]:
    """Cuts the files that the patterns name into shards of about `shard_bytes` (of Parquet: before compression).

    Raises:
      BatchError: a pattern matches nothing, or a file is neither JSONL nor Parquet.
    """
    if shard_bytes < 1:
        raise BatchError(f"a shard of {shard_bytes} bytes: it must have at least 1")
    shards: list[Shard] = []
    seen: set[str] = set()
    for pattern in patterns:
        matched = files.match(pattern)
        if not matched:
            raise BatchError(f"--input={pattern}: there is no such file")
        for file in matched:
            if file.path in seen:
                raise BatchError(f"--input={pattern}: {file.path} is named twice")
            seen.add(file.path)
            kind = _kind(file.path)
            parts = _parquet_parts(file.path, shard_bytes) if kind == "parquet" else _byte_ranges(file.size, kind, shard_bytes)
            for begin, end, row_group in parts:
                shards.append(Shard(len(shards), file.path, kind, begin, end, row_group))
    if not shards:
        raise BatchError(f"--input={' '.join(patterns)}: no row in there")
    return shards


def _kind(path: str) -> str:
    for kind, endings in {
        "jsonl": (".jsonl", ".json", ".ndjson"), "jsonl.gz": (".jsonl.gz", ".ndjson.gz"), "parquet": (".parquet",)
    }.items():  # fmt: skip
        if path.endswith(endings):
            return kind
    raise BatchError(f"--input: {path} must end in .jsonl, .jsonl.gz or .parquet")


def _byte_ranges(size: int, kind: str, shard_bytes: int) -> Iterator[tuple[int, int, int]]:
    step = max(size, 1) if kind == "jsonl.gz" else shard_bytes
    for begin in range(0, size, step):
        yield begin, min(begin + step, size), -1


def _parquet_parts(path: str, shard_bytes: int) -> Iterator[tuple[int, int, int]]:
    with _open_parquet(path) as file:
        for group in range(file.metadata.num_row_groups):
            metadata = file.metadata.row_group(group)
            rows = metadata.num_rows
            step = max(1, shard_bytes * rows // max(metadata.total_byte_size, 1))
            for begin in range(0, rows, step):
                yield begin, min(begin + step, rows), group


def _open_parquet(path: str) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BatchError(f"{path}: Parquet needs pyarrow (pip install 'tf_fastbert[beam]')") from error
    try:
        return pyarrow.parquet.ParquetFile(files.open_to_read(path))
    except pyarrow.ArrowInvalid as error:
        raise BatchError(f"{path} is no Parquet file: {error}") from error


def rows(shard: Shard, fields: Fields) -> Iterator[Row | Bad]:
    """The rows of a shard, in order; what is none as a Bad. Empty lines are no rows."""
    for position, content in _parquet_rows(shard, fields) if shard.kind == "parquet" else _lines(shard):
        try:
            yield fields.row(_parsed(content))
        except BadRow as error:
            yield Bad(shard.where(position), str(error))


def _parsed(content: Any) -> Any:
    if not isinstance(content, bytes):
        return content
    try:
        return json.loads(content)
    except ValueError as error:  # UnicodeDecodeError is one
        raise BadRow(f"it is not JSON ({error}): {content[:60]!r}") from error


def _lines(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """Positions and lines."""
    with files.open_to_read(shard.path) as file:
        if shard.kind == "jsonl.gz":
            try:
                with gzip.open(file) as unpacked:
                    yield from ((number, line) for number, line in enumerate(unpacked) if line.strip())
            except (OSError, EOFError) as error:
                raise BatchError(f"{shard.path} is no gzip file, or is cut off: {error}") from error
            return
        position = _seek_line(file, shard.begin)
        while position < shard.end:
            line = file.readline()
            if not line:
                break
            if line.strip():
                yield position, line
            position += len(line)


def _seek_line(file: IO[bytes], begin: int) -> int:
    """Goes to the first line that begins at `begin` or behind it, and returns where that is."""
    if not begin:
        return 0
    file.seek(begin - 1)  # a line that begins at `begin` itself is ours: the line before ends there
    return begin - 1 + len(file.readline())


def _parquet_rows(shard: Shard, fields: Fields) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open_parquet(shard.path) as file:
        names = [name for name in (fields.id, fields.first, fields.second) if name in file.schema_arrow.names]
        position = 0
        for batch in file.iter_batches(batch_size=4096, row_groups=[shard.row_group], columns=names):
            first, last = max(shard.begin - position, 0), min(shard.end - position, batch.num_rows)
            if first < last:
                for i, content in enumerate(batch.slice(first, last - first).to_pylist()):
                    yield position + first + i, content
            position += batch.num_rows
            if position >= shard.end:
                return
