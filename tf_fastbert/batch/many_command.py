"""tools/run_many_gpus.py."""

from __future__ import annotations

import argparse
import os
import sys

from tf_fastbert.batch import BatchError, check, command_line, many


def main(arguments: argparse.Namespace) -> int:
    """Runs the job; returns the exit status, 1 if shards are left.

    Raises:
      BatchError: a file or a flag is wrong, no worker can start, or an answer is missing at the end.
    """
    from tqdm import tqdm

    gpus = _gpus(arguments)
    job = command_line.open_job(arguments)

    def look() -> check.Checked:
        return check.here(job, tqdm(job.shards, desc="checking", unit="shard", leave=False))

    job, found = command_line.checked(job, arguments.duplicates, look)
    shards = job.unfinished()
    where = f"GPU {', '.join(map(str, gpus))}" if gpus[0] is not None and gpus[0] != "" else "the CPU"
    command_line.say(f"{min(len(gpus), max(len(shards), 1))} processes on {where}")
    with tqdm(desc="answering", unit="row") as bar:

        def tell(progress: many.Progress) -> None:
            bar.update(progress.rows)
            if progress.note:
                bar.write(f"tf_fastbert: {progress.note}", file=sys.stderr)

        summary = many.run(job, shards, gpus, tell)
    for worker, rows in sorted(summary.worker_rows.items()):
        seconds = summary.worker_seconds[worker]
        command_line.say(f"process {worker} ({_name(gpus[worker])}): {rows:,} rows in {seconds:.1f} s, {rows / seconds:,.0f} rows/s")
    if summary.rows:
        command_line.say(f"together {summary.rows:,} rows in {summary.seconds:.1f} s, {summary.rows / summary.seconds:,.0f} rows/s")
    if summary.failed:
        for shard, why in sorted(summary.failed.items()):
            command_line.say(f"shard {shard} of {job.shards[shard].path} is not answered: {why}")
        raise BatchError(f"{len(summary.failed)} of {len(job.shards)} shards are not answered; run the same command again to try again")
    details = {
        "gpus": gpus, "shards_of_last_run": len(shards), "rows_of_last_run": summary.rows, "seconds_of_last_run": summary.seconds,
        "deaths": summary.deaths,
    }  # fmt: skip
    command_line.close(job, found, command_line.verify_here(job), details, arguments.merged_output)
    return 0


def _gpus(arguments: argparse.Namespace) -> list[str | None]:
    """For each process what it sees in CUDA_VISIBLE_DEVICES: "" is no GPU."""
    if arguments.processes is not None:
        if arguments.processes < 1:
            raise BatchError(f"--processes={arguments.processes}: it must be positive")
        return [""] * arguments.processes
    if arguments.gpus:
        return arguments.gpus.split(",")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu] or [""]
    from tf_fastbert.cuda.driver import device_count

    return [str(i) for i in range(device_count())] or [""]


def _name(gpu: str | None) -> str:
    return f"GPU {gpu}" if gpu else "CPU"
