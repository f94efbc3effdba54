"""Shards have every row once, wherever they are cut; bad rows are named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.batch.data import write_jsonl
from tf_fastbert.batch import BatchError, files
from tf_fastbert.batch.rows import Fields, Row
from tf_fastbert.batch.shards import Bad, Shard, plan, rows

FIELDS = Fields.of("squad")
ROWS = [{"id": i, "question": "où? " * (i % 5), "context": "x" * (7 * i % 31), "more": None} for i in range(40)]
WANT = [Row(row["id"], row["question"], row["context"]) for row in ROWS]


def all_rows(shards: list[Shard]) -> list[Row | Bad]:
    return [row for shard in shards for row in rows(shard, FIELDS)]


@pytest.mark.parametrize("shard_bytes", [1, 7, 64, 100, 1000, 10**6])
@pytest.mark.parametrize("end", ["\n", ""])
def test_jsonl(tmp_path: Path, shard_bytes: int, end: str) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    path.write_text(path.read_text().rstrip("\n") + end)
    shards = plan([str(path)], shard_bytes)
    assert all_rows(shards) == WANT
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert len(shards) == -(-path.stat().st_size // shard_bytes)


def test_blank_lines_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n\r\n".join(json.dumps(row).encode() for row in ROWS) + b"\n\n")
    assert all_rows(plan([str(path)], 50)) == WANT


def test_gzip_is_one_shard(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    content = "".join(json.dumps(row) + "\n" for row in ROWS)
    path.write_bytes(gzip.compress(content.encode()))
    shards = plan([str(path)], 10)
    assert len(shards) == 1 and all_rows(shards) == WANT
    path.write_bytes(gzip.compress(content.encode())[:-20])
    with pytest.raises(BatchError, match="rows.jsonl.gz is no gzip file, or is cut off"):
        all_rows(plan([str(path)], 10))


@pytest.mark.parametrize("shard_bytes", [1, 300, 10**6])
def test_parquet(tmp_path: Path, shard_bytes: int) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: beam)")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rows.parquet", row_group_size=15)
    shards = plan([str(tmp_path / "rows.parquet")], shard_bytes)
    assert all_rows(shards) == WANT
    assert len(shards) == {1: 40, 10**6: 3}.get(shard_bytes, len(shards))
    (tmp_path / "no.parquet").write_text("PAR1 it is not")
    with pytest.raises(BatchError, match="no.parquet is no Parquet file"):
        plan([str(tmp_path / "no.parquet")], 10)


def test_several_files(tmp_path: Path) -> None:
    for name, part in (("b", ROWS[20:]), ("a", ROWS[:20])):
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    assert all_rows(plan([f"{tmp_path}/*.jsonl"], 200)) == WANT
    with pytest.raises(BatchError, match="a.jsonl is named twice"):
        plan([f"{tmp_path}/*.jsonl", f"{tmp_path}/a.jsonl"], 200)
    with pytest.raises(BatchError, match="--input=.*c.jsonl: there is no such file"):
        plan([f"{tmp_path}/c.jsonl"], 200)
    (tmp_path / "rows.csv").write_text("id,question")
    with pytest.raises(BatchError, match=r"rows.csv must end in .jsonl, .jsonl.gz or .parquet"):
        plan([f"{tmp_path}/rows.csv"], 200)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(BatchError, match="no row in there"):
        plan([f"{tmp_path}/empty.jsonl"], 200)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"id": 1, "question": "q"', "it is not JSON"),
        ("[1]", "it is no JSON object but a list"),
        ('{"id": 1, "question": "q"}', 'it has no "context" (it has \'id\', \'question\')'),
        ('{"id": 1.5, "question": "q", "context": "c"}', '"id" must be a text or a whole number, not 1.5'),
        ('{"id": true, "question": "q", "context": "c"}', '"id" must be a text or a whole number, not True'),
        ('{"id": 1, "question": 2, "context": "c"}', '"question" must be a text, not 2'),
        ('{"id": null, "question": "q", "context": "c"}', 'it has no "id"'),
        ("\udcff", "it is not JSON"),
    ],
)
def test_bad_rows(tmp_path: Path, line: str, why: str) -> None:
    good = json.dumps(ROWS[0])
    (tmp_path / "rows.jsonl").write_bytes(f"{good}\n{line}\n{good}\n".encode(errors="surrogateescape"))
    found = all_rows(plan([f"{tmp_path}/rows.jsonl"], 1000))
    assert found[0] == found[2] == WANT[0] and isinstance(found[1], Bad)
    assert found[1].why.startswith(why)
    assert found[1].where == f"{tmp_path}/rows.jsonl, the line at byte {len(good) + 1}"


def test_classifier_fields() -> None:
    fields = Fields.of("classifier", id_field="key", first="sentence")
    assert fields.row({"key": "a", "sentence": "s", "text_b": None}) == Row("a", "s", "")
    assert fields.row({"key": "a", "sentence": "s", "text_b": "t"}) == Row("a", "s", "t")


def test_files_are_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{tmp_path}/x"
    files.write(path, b"old")
    with monkeypatch.context() as context:
        context.setattr(files.os, "fsync", lambda number: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            files.write(path, b"new")
    assert files.read(path) == b"old" and [file.path for file in files.match(f"{tmp_path}/*")] == [path]
