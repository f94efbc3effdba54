"""Duplicate ids and rows that cannot be answered, found before anything is computed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tf_fastbert.batch import BatchError, files
from tf_fastbert.batch.job import CHECK, Job
from tf_fastbert.batch.rows import key
from tf_fastbert.batch.shards import Bad, Shard, rows

_NAMED = 5  # in an error
# What is kept of bad rows and of duplicates; there are as many shards as one likes, but the list travels to each worker.
_KEPT_OF_SHARD, _MOST_DUPLICATES = 20, 1_000_000


class Place(NamedTuple):
    """A row: its shard and its number in it, counted from 0."""

    shard: int
    number: int


class Scanned(NamedTuple):
    """What a look at a shard says, but for its ids."""

    shard: int
    rows: int
    bad: int
    examples: list[Bad]  # the first bad rows


@dataclasses.dataclass(frozen=True)
class Checked:
    """What the check found.

    Attributes:
      rows: how many rows there are, bad ones and duplicates included.
      bad: how many are bad, and `bad_examples` the first of them.
      duplicates: id -> the places of its rows, two at least, in order.
    """

    rows: int
    bad: int
    bad_examples: list[Bad]
    duplicates: dict[str, list[Place]]

    @property
    def surplus(self) -> int:
        """Rows whose id another row had before."""
        return sum(len(places) - 1 for places in self.duplicates.values())


def scan(shard: Shard, fields: Any) -> Iterator[tuple[str, Place] | Scanned]:
    """The ids of a shard and their places, and at the end a Scanned."""
    count = bad = 0
    examples: list[Bad] = []
    for number, row in enumerate(rows(shard, fields)):
        count += 1
        if isinstance(row, Bad):
            bad += 1
            if len(examples) < _KEPT_OF_SHARD:
                examples.append(row)
        else:
            yield key(row.id), Place(shard.index, number)
    yield Scanned(shard.index, count, bad, examples)


def here(job: Job, shards: Iterable[Shard]) -> Checked:
    """Checks the shards in this process. It takes about 150 bytes of memory a row; the Beam job checks on its runner instead."""
    seen: dict[bytes, Place] = {}
    duplicates: dict[str, list[Place]] = {}
    scanned: list[Scanned] = []
    for shard in shards:
        for item in scan(shard, job.fields):
            if isinstance(item, Scanned):
                scanned.append(item)
                continue
            row_id, place = item
            first = seen.setdefault(hashlib.blake2b(row_id.encode(), digest_size=16).digest(), place)
            if first is not place:
                duplicates.setdefault(row_id, [first]).append(place)
    return gather(scanned, duplicates.items())


def gather(scanned: Sequence[Scanned], duplicates: Iterable[tuple[str, Sequence[Place]]]) -> Checked:
    """What scans of all shards found, put together."""
    scanned = sorted(scanned)
    return Checked(
        rows=sum(one.rows for one in scanned),
        bad=sum(one.bad for one in scanned),
        bad_examples=[Bad(*bad) for one in scanned for bad in one.examples][:_KEPT_OF_SHARD],
        duplicates=dict(sorted((row_id, sorted(Place(*place) for place in places)) for row_id, places in duplicates)),
    )


def apply(job: Job, checked: Checked, duplicates: str) -> Job:
    """The job with the rows that get no answer, if there may be such.

    Raises:
      BatchError: bad rows or duplicates that may not be; the first are named.
    """
    if checked.bad and job.bad_rows == "error":
        first = "\n".join(f"  {bad.where}: {bad.why}" for bad in checked.bad_examples[:_NAMED])
        raise BatchError(
            f"{checked.bad:,} of {checked.rows:,} rows cannot be answered, the first of them:\n{first}\n"
            "mend them, or pass --bad_rows=skip to leave them out"
        )
    if checked.duplicates and duplicates == "error":
        first = "\n".join(
            f"  {row_id!r}: {' and '.join(_where(job, place) for place in places[:2])}"
            for row_id, places in list(checked.duplicates.items())[:_NAMED]
        )
        raise BatchError(
            f"{len(checked.duplicates):,} ids are used more than once, the first of them:\n{first}\n"
            f"all of them are in {files.join(job.folder, CHECK)}; make ids unique, or pass --duplicates=skip to answer the first "
            "row of each"
        )
    if checked.surplus > _MOST_DUPLICATES:
        raise BatchError(f"{checked.surplus:,} rows have the id of another row: more than {_MOST_DUPLICATES:,} cannot be skipped")
    skipped: dict[int, list[int]] = {}
    for places in checked.duplicates.values():
        for place in places[1:]:
            skipped.setdefault(place.shard, []).append(place.number)
    return dataclasses.replace(job, skipped={shard: tuple(numbers) for shard, numbers in skipped.items()})


def _where(job: Job, place: Place) -> str:
    shard = job.shards[place.shard]
    return f"row {place.number + 1} of shard {place.shard} ({shard.path})"


def saved(job: Job) -> Checked | None:
    """What an earlier run of this job found."""
    path = files.join(job.folder, CHECK)
    if not files.exists(path):
        return None
    content = json.loads(files.read(path))
    return Checked(
        content["rows"],
        content["bad"],
        [Bad(*bad) for bad in content["bad_examples"]],
        {row_id: [Place(*place) for place in places] for row_id, places in content["duplicates"].items()},
    )


def save(job: Job, checked: Checked) -> None:
    files.write(files.join(job.folder, CHECK), (json.dumps(dataclasses.asdict(checked), indent=1) + "\n").encode())
