#!/bin/bash
# Sets up a virtual environment with one TensorFlow and builds the library for it. Prints two lines: the environment's Python and the
# library; everything else goes to stderr.
#
#   tools/setup/build_for_tensorflow.sh 2.15
#
# The version that requirements.txt pins shares .venv and bazel-bin with `make build`. Another one needs requirements-tf<version>.txt
# and has .venv-<version> and .work/bazel-<version>. What does not depend on TensorFlow, the CUDA kernels above all, is compiled once.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${1:?which TensorFlow, e.g. 2.15}
bazel=("$(tools/setup/find_bazel.sh)")
if grep -q "^tensorflow-cpu==${version//./\\.}\." requirements.txt; then
  venv=$PWD/.venv requirements=requirements.txt prefix=$PWD/bazel
else
  venv=$PWD/.venv-$version requirements=requirements-tf$version.txt prefix=$PWD/.work/bazel-$version
  [ -e "$requirements" ] || { echo "$requirements: no such file; there are: $(echo requirements-tf*.txt)" >&2; exit 1; }
  bazel+=("--output_base=$prefix")
  trap '"${bazel[@]}" shutdown >&2' EXIT
fi
tools/setup/setup.sh "$venv" "$requirements" >&2
PYTHON_BIN_PATH=$venv/bin/python "${bazel[@]}" build --symlink_prefix="$prefix-" --disk_cache="$PWD/.work/bazel-cache" \
  //:libtf_fastbert.so >&2
echo "$venv/bin/python"
echo "$prefix-bin/libtf_fastbert.so"
