"""A job's folder: what stays, what is refused, duplicates and bad rows, and that a wrong output is noticed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")

from tests.batch.data import export_tiny, pairs, read_jsonl, write_jsonl
from tests.wrap import tiny_model
from tf_fastbert.batch import BatchError, check, work
from tf_fastbert.batch import job as jobs
from tf_fastbert.batch.answerer import Options
from tf_fastbert.batch.rows import Row


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_model.write_model(folder)
    return str(export_tiny(folder, "classifier"))


class Lengths:
    """Stands for a model: the label is the text's length."""

    def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [{"id": row.id, "label": len(row.first)} for row in rows]


def open_job(tmp_path: Path, model: str, rows: list[Any] | None = None, **options: Any) -> jobs.Job:
    if rows is not None:
        write_jsonl(tmp_path / "in.jsonl", rows)
    options = {"shard_bytes": 500, **options}
    return jobs.open_job(f"{tmp_path}/out", model, [f"{tmp_path}/in.jsonl"], options.pop("options", Options()), **options)


def answer(job: jobs.Job, shards: Sequence[Any]) -> None:
    for shard in shards:
        work.write(job, work.answer(Lengths(), work.load(job, shard), 4))


def test_a_job_goes_on(tmp_path: Path, model: str) -> None:
    rows = pairs(30)
    job = open_job(tmp_path, model, rows)
    assert len(job.shards) > 5 and job.unfinished() == list(job.shards)
    answer(job, job.shards[1:3])
    again = open_job(tmp_path, model, options=Options(batch_size=7, threads=3))
    assert again.finished() == {1, 2} and again.unfinished() == [job.shards[0], *job.shards[3:]]
    answer(again, again.unfinished())
    assert not again.unfinished() and all(work.verify(again, shard)["problem"] is None for shard in again.shards)
    jobs.merge(again, f"{tmp_path}/all.jsonl")
    assert read_jsonl(tmp_path / "all.jsonl") == [{"id": row["id"], "label": len(row["text_a"])} for row in rows]


def test_another_job_is_refused(tmp_path: Path, model: str) -> None:
    job = open_job(tmp_path, model, pairs(30))
    answer(job, job.shards[:1])
    with pytest.raises(BatchError, match=r"job.json describes another job: its options differs .*'max_seq_length': 20"):
        open_job(tmp_path, model, options=Options(max_seq_length=20))
    with pytest.raises(BatchError, match="its shards differs"):
        open_job(tmp_path, model, shard_bytes=400)
    with pytest.raises(BatchError, match="its input differs"):
        open_job(tmp_path, model, pairs(31))
    (tmp_path / "out" / "job.json").unlink()
    with pytest.raises(BatchError, match="has answers of something else"):
        open_job(tmp_path, model, pairs(30))


def test_input_may_be_mended_before_anything_is_answered(tmp_path: Path, model: str) -> None:
    job = open_job(tmp_path, model, [*pairs(9), *pairs(1)])
    check.save(job, check.here(job, job.shards))
    assert open_job(tmp_path, model) == job and check.saved(job)
    job = open_job(tmp_path, model, pairs(10))
    assert check.saved(job) is None
    check.save(job, check.here(job, job.shards))
    answer(job, job.shards)


def test_what_killed_processes_began_is_removed(tmp_path: Path, model: str) -> None:
    job = open_job(tmp_path, model, pairs(9), shard_bytes=10**6)
    (tmp_path / "out" / "answers-00000-of-00001.jsonl.0123.writing").write_text("half a li")
    assert not job.finished()
    answer(job, job.shards)
    jobs.tidy(job)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"job.json", "answers-00000-of-00001.jsonl"}


def test_models_that_do_not_fit(tmp_path: Path, model: str) -> None:
    write_jsonl(tmp_path / "in.jsonl", pairs(3))
    with pytest.raises(BatchError, match="--model: .*nothing is no SavedModel"):
        open_job(tmp_path, f"{tmp_path}/nothing")
    with pytest.raises(BatchError, match="--max_seq_length=65: the model has 64 positions"):
        open_job(tmp_path, model, options=Options(max_seq_length=65))


def test_duplicates_are_named(tmp_path: Path, model: str) -> None:
    rows = pairs(30)
    rows[3]["id"], rows[25]["id"], rows[28]["id"] = "p1", "p9", "p9"
    job = open_job(tmp_path, model, rows)
    checked = check.here(job, job.shards)
    assert (checked.rows, checked.bad, checked.surplus) == (30, 0, 3)
    assert {row_id: len(places) for row_id, places in checked.duplicates.items()} == {"p1": 2, "p9": 3}
    check.save(job, checked)
    assert check.saved(job) == checked
    with pytest.raises(BatchError, match=r"(?s)2 ids are used more than once.*'p1': row 2 of shard 0 .*'p9': row"):
        check.apply(job, checked, "error")
    job = check.apply(job, checked, "skip")
    answer(job, job.shards)
    results = [work.verify(job, shard) for shard in job.shards]
    assert [result["problem"] for result in results] == [None] * len(job.shards)
    assert sum(result["rows"] for result in results) == 27
    answers = [line for shard in job.shards for line in read_jsonl(Path(job.output(shard.index)))]
    assert [line["id"] for line in answers] == [row["id"] for i, row in enumerate(rows) if i not in (3, 25, 28)]


def test_a_number_and_its_text_are_one_id(tmp_path: Path, model: str) -> None:
    job = open_job(tmp_path, model, [{"id": 7, "text_a": "a"}, {"id": "7", "text_a": "b"}])
    assert list(check.here(job, job.shards).duplicates) == ["7"]


def test_bad_rows(tmp_path: Path, model: str) -> None:
    rows = [*pairs(4), {"id": "x"}, {"text_a": "y"}, *pairs(6)[4:]]
    job = open_job(tmp_path, model, rows)
    checked = check.here(job, job.shards)
    assert (checked.rows, checked.bad) == (8, 2)
    with pytest.raises(BatchError, match=r'(?s)2 of 8 rows cannot be answered.*the line at byte \d+: it has no "text_a".*bad_rows=skip'):
        check.apply(job, checked, "error")
    skipping = dataclasses.replace(job, bad_rows="skip")
    answer(skipping, job.shards)
    assert sum(work.verify(skipping, shard)["rows"] for shard in job.shards) == 6
    with pytest.raises(BatchError, match='it has no "text_a"'):
        answer(job, job.shards)


def test_verify_sees_what_is_lost_or_doubled(tmp_path: Path, model: str) -> None:
    job = open_job(tmp_path, model, pairs(9), shard_bytes=10**6)
    answer(job, job.shards)
    path = Path(job.output(0))
    lines = path.read_text().splitlines(keepends=True)
    for wrong, problem in (
        (lines[:-1], "has 8 answers for 9 rows; they differ from answer 9 on"),
        (lines[:3] + lines[2:], "has 10 answers for 9 rows; they differ from answer 4 on"),
        (lines[:2] + [lines[3], lines[2]] + lines[4:], "has 9 answers for 9 rows; they differ from answer 3 on"),
        ([*lines[:-1], lines[-1][:-9]], "cannot be read"),
    ):
        path.write_text("".join(wrong))
        assert problem in work.verify(job, job.shards[0])["problem"]
    path.unlink()
    assert "cannot be read" in work.verify(job, job.shards[0])["problem"]


def test_a_model_that_loses_a_row_writes_nothing(tmp_path: Path, model: str) -> None:
    class Loses(Lengths):
        def answer(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
            return super().answer(rows)[1:]

    job = open_job(tmp_path, model, pairs(9), shard_bytes=10**6)
    with pytest.raises(RuntimeError, match="8 answers for 9 rows"):
        work.write(job, work.answer(Loses(), work.load(job, job.shards[0]), 100))
    assert not job.finished()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["job.json"]
    assert json.loads((tmp_path / "out" / "job.json").read_text())["task"] == "classifier"
