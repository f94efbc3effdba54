#!/bin/bash
# Makes .venv-dev with the tools of the extra "dev" in pyproject.toml: linters, and what makes and checks wheels.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=.venv-dev
python=${PYTHON:-python3}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -c '
import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")' >"$venv/wanted"
if ! cmp -s "$venv/wanted" "$venv/.installed_requirements"; then
  echo "setup: installing $(wc -l <"$venv/wanted") development tools into $venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$venv/wanted"
  mv "$venv/wanted" "$venv/.installed_requirements"
fi
