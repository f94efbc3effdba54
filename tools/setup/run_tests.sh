#!/bin/bash
# Every test that needs no GPU (those that do skip themselves), after `make build`: the C++ tests, then pytest, whose summary is the last line and whose
# exit status is this script's. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/../.."
"$(tools/setup/find_bazel.sh)" test //...
exec .venv/bin/python -m pytest "$@"
