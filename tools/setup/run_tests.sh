#!/bin/bash
# Every test that needs no GPU (those that do skip themselves), after `make build`: the C++ tests, then pytest, whose summary is the last line and whose
# exit status is this script's. Arguments go to pytest; a file's tests stay in one process, and there are two: most of the time goes
# into programs that the tests start one after the other.
set -euo pipefail
cd "$(dirname "$0")/../.."
"$(tools/setup/find_bazel.sh)" test //...
tools/setup/install_pinned.sh .venv requirements-test.txt
exec .venv/bin/python -m pytest --numprocesses=2 --dist=loadfile "$@"
