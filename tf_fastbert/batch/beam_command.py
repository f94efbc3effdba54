"""tools/batch_answer.py."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import Any

from tf_fastbert.batch import BatchError, command_line, local_beam, watch

# Beam's own name for its local runner; "DirectRunner" first tries to fetch another one from the network.
_LOCAL = ("local", "DirectRunner", "FnApiRunner")
_LOCAL_RUNNER = "FnApiRunner"


def main(arguments: argparse.Namespace, beam_flags: list[str], source: str) -> int:
    """Runs the job; returns the exit status.

    Args:
      beam_flags: Beam's.
      source: the folder that tf_fastbert is imported from, for worker processes of this machine.

    Raises:
      BatchError: a file or a flag is wrong, or an answer is missing at the end.
    """
    logging.getLogger().setLevel(logging.INFO if arguments.verbose else logging.ERROR)
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        raise BatchError(
            f"Apache Beam cannot be imported ({error}): pip install 'tf_fastbert[beam]'; tools/run_many_gpus.py does without it"
        ) from error
    local = arguments.runner in _LOCAL
    options = _pipeline_options(arguments, beam_flags, local)
    workers = _workers(options) if local else None
    if workers and workers > 1:
        supervisor = local_beam.supervisor()
        if supervisor is None:
            return _supervised(arguments)
        watch.end_with(supervisor)
        local_beam.end_when_a_worker_dies()
    if local:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    job = command_line.open_job(arguments)
    from tf_fastbert.batch import beam_job

    job, found = command_line.checked(job, arguments.duplicates, lambda: beam_job.find_duplicates(job, options))
    ends_with = os.getpid() if workers and workers > 1 else None
    with command_line.progress_of_shards(job):
        shards, seconds = command_line.timed(lambda: beam_job.answer(job, options, ends_with))
    details: dict[str, Any] = {"runner": arguments.runner, "workers": workers, "shards_of_last_run": shards, "seconds_of_last_run": seconds}
    command_line.close(job, found, beam_job.verify(job, options), details, arguments.merged_output)
    return 0


def _pipeline_options(arguments: argparse.Namespace, beam_flags: list[str], local: bool) -> Any:
    from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

    if local:  # other runners have flags that only their job server knows
        _refuse_unknown(beam_flags)
    level = [] if arguments.verbose else ["--default_sdk_harness_log_level=WARNING"]
    runner = _LOCAL_RUNNER if local else arguments.runner
    options = PipelineOptions([f"--runner={runner}", *level, *beam_flags])
    if local and _workers(options) != 1:
        direct = options.view_as(DirectOptions)
        direct.direct_running_mode = "multi_processing"
        direct.direct_num_workers = _workers(options)
    return options


def _refuse_unknown(flags: list[str]) -> None:
    """Beam itself leaves out flags that it does not know."""
    from apache_beam.options import pipeline_options

    parser = pipeline_options._BeamArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in pipeline_options.PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    unknown = parser.parse_known_args(flags)[1]
    if unknown:
        raise BatchError(f"{unknown[0]}: neither this tool nor Beam knows that flag (--help lists ours)")


def _workers(options: Any) -> int:
    from apache_beam.options.pipeline_options import DirectOptions

    number = options.view_as(DirectOptions).direct_num_workers
    return number if number else len(os.sched_getaffinity(0))


def _supervised(arguments: argparse.Namespace) -> int:
    def told(attempt: int) -> None:
        command_line.say(f"going on from what is finished (attempt {attempt} of {arguments.restarts + 1})")

    status = local_beam.supervise([sys.executable, *sys.argv], arguments.restarts, told)
    if status == local_beam.WORKER_DIED:
        raise BatchError(
            f"worker processes died {arguments.restarts + 1} times. Is memory short? Use fewer (--direct_num_workers), or a smaller "
            "--batch_size; run the same command again to go on"
        )
    return status
