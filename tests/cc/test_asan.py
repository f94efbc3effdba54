"""A sample of the op's configurations under AddressSanitizer, in a process of its own.

The instrumented library is the one that TF_FASTBERT_ASAN_LIBRARY names, else it is built (a few minutes the first time).
TensorFlow and oneDNN are not instrumented: what is checked are the op's own reads and writes, all of which go to memory that
TensorFlow's CPU allocator took from malloc.
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess

import pytest
import tensorflow as tf

from tests.op_runner import REPOSITORY, run_python

SAMPLE = """
import concurrent.futures
import dataclasses
import numpy as np
import tensorflow as tf
from tests.op_runner import as_arrays, as_variables, run_op
from tests.random_configs import Config, check_output, make_inputs, random_config

for seed in range(24):
    config = random_config(seed, small=True)
    print(config, flush=True)
    inputs = make_inputs(config)
    check_output(config, inputs, run_op(config, inputs, "/CPU:0", as_arrays(inputs) if seed % 3 == 0 else None))
for lengths in [(6, 1), (-1, 1)]:
    config = Config(seed=0, batch=2, seq_len=5)
    try:
        run_op(config, make_inputs(config)._replace(sequence_length=np.array(lengths, np.int32)), "/CPU:0")
    except tf.errors.InvalidArgumentError:
        pass
    else:
        raise AssertionError(lengths)
# Threads, and weights that come, change and go.
config = Config(seed=1)
def work(thread):
    for turn in range(4):
        mine = dataclasses.replace(config, seed=thread)
        inputs = make_inputs(mine)
        layers = as_variables(inputs)
        check_output(mine, inputs, run_op(mine, inputs, "/CPU:0", layers))
        layers[0].query_kernel.assign(layers[0].key_kernel)
        run_op(mine, inputs, "/CPU:0", layers)
with concurrent.futures.ThreadPoolExecutor(6) as pool:
    list(pool.map(work, range(6)))
print("clean")
"""


@pytest.fixture(scope="module")
def asan_library() -> pathlib.Path:
    named = os.environ.get("TF_FASTBERT_ASAN_LIBRARY")
    if named:
        return pathlib.Path(named)
    pinned = re.search(r"^tensorflow-cpu==(\d+\.\d+)\.", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    if not tf.__version__.startswith(f"{pinned[1]}."):
        pytest.skip(f"the build with AddressSanitizer is for TensorFlow {pinned[1]}, and this is {tf.__version__}")
    find_bazel = subprocess.run([str(REPOSITORY / "tools/setup/find_bazel.sh")], capture_output=True, text=True)
    if find_bazel.returncode:
        pytest.skip("needs Bazel (make setup) or TF_FASTBERT_ASAN_LIBRARY")
    command = [*find_bazel.stdout.split(), "build", "--config=asan", "//:libtf_fastbert.so"]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-8000:]
    return REPOSITORY / ".work/asan-bin/libtf_fastbert.so"


@pytest.mark.slow
def test_random_configs_under_asan(asan_library: pathlib.Path) -> None:
    # libstdc++ too: without it the runtime does not find the exceptions' functions that it wraps, and Python itself has none.
    preloaded = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libstdc++.so.6")
    ]
    output = run_python(
        "-c",
        SAMPLE,
        TF_FASTBERT_LIBRARY=str(asan_library),
        LD_PRELOAD=" ".join(preloaded),
        # TensorFlow and Python leave much for the end of the process. A chunk freed last is kept from reuse, up to 64 MB.
        ASAN_OPTIONS="detect_leaks=0:halt_on_error=1:quarantine_size_mb=64",
    )
    assert "clean" in output
