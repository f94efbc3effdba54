#!/bin/bash
# Installs a file of pinned packages into a virtual environment, without looking for what else they might need; nothing to do if that
# very file was installed there before.
#
#   tools/setup/install_pinned.sh VENV REQUIREMENTS
set -euo pipefail
venv=$1 requirements=$2
installed=$venv/.installed_$(basename "$requirements" .txt)

cmp -s "$requirements" "$installed" && exit
echo "setup: installing $requirements into $venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$requirements"
cp "$requirements" "$installed"
