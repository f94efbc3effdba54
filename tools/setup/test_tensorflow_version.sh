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
built=$(tools/setup/build_for_tensorflow.sh "$version")
python=$(head -n 1 <<<"$built")
TF_FASTBERT_LIBRARY=$(tail -n 1 <<<"$built")
export TF_FASTBERT_LIBRARY
"$python" -m pytest "$@"
