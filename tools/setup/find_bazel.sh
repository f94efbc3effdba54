#!/bin/bash
# Prints the Bazel to use: $BAZEL, else the one on the PATH, else the one that setup.sh took from npm. Fails where there is none.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
if [ -n "${BAZEL:-}" ]; then
  echo "$BAZEL"
elif command -v bazel >/dev/null; then
  echo bazel
elif [ -x "$root/.work/bazel" ]; then
  echo "$root/.work/bazel"
else
  echo "no Bazel found: run \`make setup\`, install bazel-bootstrap with apt, or set BAZEL" >&2
  exit 1
fi
