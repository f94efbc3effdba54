"""Many Python programs for the price of one import of TensorFlow: `run_programs` starts this file, which forks for each of them.

Every program runs as `python FILE arguments` does, as __main__, in the folder `cwd`.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    """How a program ended: exit status, stdout and stderr."""

    status: int
    output: str
    errors: str


def run_programs(command_lines: Sequence[Sequence[str]], cwd: Path, timeout: float = 1500) -> list[Ended]:
    """Runs [file, arguments...] one after the other; stops behind the first that fails."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(REPO)}
    result = subprocess.run(
        [sys.executable, __file__], input=json.dumps([list(map(str, line)) for line in command_lines]), cwd=cwd,
        capture_output=True, text=True, timeout=timeout, check=False, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-4000:]
    return [Ended(*ended) for ended in json.loads(result.stdout.splitlines()[-1])]


def _run(line: list[str]) -> Ended:
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os._exit(_status_of(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for file in (output, errors):
            file.seek(0)
        return Ended(status, output.read(), errors.read())


def _status_of(line: list[str]) -> int:
    status = 1
    sys.argv = line
    sys.path.insert(0, os.path.dirname(os.path.abspath(line[0])))
    try:
        runpy.run_path(line[0], run_name="__main__")
        status = 0
    except SystemExit as error:  # as the interpreter does
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        status = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _main() -> None:
    import tf_fastbert.compat

    tf_fastbert.compat.install()
    import tf_fastbert.wrap.preflight  # noqa: F401 (imported before the forks)

    ended = []
    for line in json.load(sys.stdin):
        ended.append(_run(line))
        if ended[-1].status:
            break
    print(json.dumps(ended))


if __name__ == "__main__":
    _main()
