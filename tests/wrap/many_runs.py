"""Many command lines of one wrapper for the price of one import of TensorFlow: `run_many` starts this file as a program.

Each command line runs in a fork of a process that has imported everything and done nothing yet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """How a command line ended: exit status, and stdout and stderr together."""

    status: int
    output: str


def run_many(script: str, command_lines: Sequence[Sequence[str]]) -> list[Ended]:
    """Runs run_squad_wrap or run_classifier_wrap with each command line."""
    result = subprocess.run(
        [sys.executable, __file__, script],
        input=json.dumps([list(map(str, line)) for line in command_lines]),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(REPO)},
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return [Ended(*ended) for ended in json.loads(result.stdout.splitlines()[-1])]


def _run(script: str, arguments: list[str]) -> Ended:
    from tf_fastbert.wrap import runner

    with tempfile.TemporaryFile("w+") as log:
        child = os.fork()
        if child == 0:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            status = 70  # a traceback
            try:
                runner.main(script.removesuffix("_wrap"), "usage", [script, *arguments])
            except SystemExit as error:
                status = error.code
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        log.seek(0)
        return Ended(status, log.read())


def _main() -> None:
    import tf_fastbert.compat

    tf_fastbert.compat.install()
    import tf_fastbert.wrap.preflight  # noqa: F401 (imported before the forks)

    print(json.dumps([_run(sys.argv[1], line) for line in json.load(sys.stdin)]))


if __name__ == "__main__":
    _main()
