#!/bin/bash
# Builds the library for another TensorFlow and runs the Python tests with it, apart from the usual .venv and bazel-bin.
#
#   tools/setup/test_tensorflow_version.sh 2.15 [pytest arguments]
#
# Needs requirements-tf2.15.txt; makes .venv-2.15 and .work/bazel-2.15.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=${1:?which TensorFlow, e.g. 2.15}
shift
requirements=requirements-tf$version.txt
[ -e "$requirements" ] || { echo "$requirements: no such file; there are: $(echo requirements-tf*.txt)" >&2; exit 1; }
venv=$PWD/.venv-$version
output=$PWD/.work/bazel-$version

tools/setup/setup.sh "$venv" "$requirements"
bazel=("$(tools/setup/find_bazel.sh)" "--output_base=$output")
export PYTHON_BIN_PATH=$venv/bin/python
trap '"${bazel[@]}" shutdown' EXIT
"${bazel[@]}" build --symlink_prefix="$output-" //:libtf_fastbert.so
export TF_FASTBERT_LIBRARY=$output-bin/libtf_fastbert.so
"$PYTHON_BIN_PATH" -m pytest "$@"
