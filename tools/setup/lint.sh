#!/bin/bash
# ruff, mypy and clang-format over the tree; the settings are in pyproject.toml, .clang-format and .clang-format-ignore. Changes
# nothing: `.venv-dev/bin/ruff check --fix` and `.venv-dev/bin/clang-format -i FILE` do. Needs .venv and .venv-dev (`make lint`).
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=.venv-dev/bin
failed=()
check() {
  echo "lint: $1"
  shift
  "$@" || failed+=("$1")
}

check "ruff" "$tools/ruff" check .
# .venv: NumPy's types come from what is installed there.
check "mypy" "$tools/mypy" --python-executable .venv/bin/python
mapfile -t sources < <(git ls-files '*.cc' '*.h' '*.cu' '*.cuh' '*.c')
check "clang-format, ${#sources[@]} files" "$tools/clang-format" --dry-run -Werror --ferror-limit=1 "${sources[@]}"
# A file that is laid out by hand for good reason goes into .clang-format-ignore.
[ ${#failed[@]} = 0 ] || { echo "lint: failed: ${failed[*]##*/}" >&2; exit 1; }
