#!/bin/bash
# Makes a wheel for each TensorFlow into dist/, CPU and (where nvcc is) CUDA in one, and says what it needs of a system.
#
#   tools/setup/build_wheels.sh [2.21 2.20 2.15]     by default every version that has a file of requirements
#
# dist/tf_fastbert-0.1.0+tf2.21-py3-none-manylinux_2_34_x86_64.whl: any Python 3, TensorFlow 2.21, glibc 2.34 or newer. The last is
# auditwheel's finding, and depends on the machine that builds: an older one makes wheels for older ones.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ $# = 0 ]; then
  # shellcheck disable=SC2046
  set -- $(sed -n 's/^tensorflow-cpu==\([0-9]*\.[0-9]*\)\..*/\1/p' requirements.txt requirements-tf*.txt)
fi
tools/setup/dev_tools.sh
tools=$PWD/.venv-dev/bin
raw=$PWD/.work/wheels

# Not in the wheel: what TensorFlow brings, and oneDNN, which pip installs (pyproject.toml's dependencies). The OpenMP runtime lies in
# the package, but as a last resort (see ops.py): a copy under another name would not be the one that oneDNN computes with.
excluded=(--exclude libtensorflow_framework.so.2 --exclude libdnnl.so.3 --exclude libgomp.so.1)

for version in "$@"; do
  built=$(tools/setup/build_for_tensorflow.sh "$version")
  rm -rf "$raw" build
  TF_FASTBERT_PREBUILT=$(tail -n 1 <<<"$built") "$(head -n 1 <<<"$built")" -m pip wheel --quiet --disable-pip-version-check \
    --no-deps --no-build-isolation --wheel-dir "$raw" .
  PATH=$tools:$PATH "$tools/auditwheel" show "$raw"/*.whl
  PATH=$tools:$PATH "$tools/auditwheel" repair "${excluded[@]}" --wheel-dir dist "$raw"/*.whl
done
ls -l dist
