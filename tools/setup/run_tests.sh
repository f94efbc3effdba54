#!/bin/bash
# Every test that needs no GPU (those that do skip themselves), after `make build`: the C++ tests, then pytest, whose summary is the last line and whose
# exit status is this script's. Arguments go to pytest; a file's tests stay in one process, and there are two: most of the time goes
# into programs that the tests start one after the other.
set -euo pipefail
cd "$(dirname "$0")/../.."
"$(tools/setup/find_bazel.sh)" test //...
tools/setup/install_pinned.sh .venv requirements-test.txt

# TensorFlow's messages from the two processes come out at their very end, behind the summary. What tests print is in pytest's
# report; this is shown only if there was none (a wrong argument, say).
messages=$(mktemp)
trap 'rm -f "$messages"' EXIT
status=0
# A GPU is hidden: there TensorFlow rounds float32 products to TF32, and its own ops do not refuse what they do on a CPU.
CUDA_VISIBLE_DEVICES='' .venv/bin/python -m pytest --numprocesses=2 --dist=loadfile "$@" 2>"$messages" || status=$?
[ "$status" -le 1 ] || cat "$messages" >&2
exit "$status"
