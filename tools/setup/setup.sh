#!/bin/bash
# Makes a machine ready to build and test: compiler, Bazel and a virtual environment with the pinned packages. What is there already
# stays, so a second run takes a second.
#
#   tools/setup/setup.sh [VENV [REQUIREMENTS]]     by default .venv and requirements.txt
#
# Environment: PYTHON, the Python to make the virtual environment with (python3); BAZEL, the Bazel to use.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${1:-.venv}
requirements=${2:-requirements.txt}
python=${PYTHON:-python3}

fail() {
  echo "setup: $*" >&2
  exit 1
}

# No grep -q: it would close the pipe early, and ldconfig's SIGPIPE is a failure under pipefail.
has_libgomp() { { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep 'libgomp\.so\.1' >/dev/null; }
has_bazel() { tools/setup/find_bazel.sh >/dev/null 2>&1; }

missing_packages() {
  command -v g++ >/dev/null || echo g++
  has_libgomp || echo libgomp1
  has_bazel || echo bazel-bootstrap
  command -v "$python" >/dev/null || echo python3
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

apt_install() {
  echo "setup: installing $* with apt"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Where apt can't be used: npm has Bazel 2.1.0, which builds this workspace too. The two flags keep it off files meant for another one.
bazel_from_npm() {
  echo "setup: installing Bazel with npm"
  npm install --silent --no-save --prefix .work/npm @bazel/bazel-linux_x64@2.1.0 || return 1
  local binary
  binary=$(find "$PWD/.work/npm/node_modules/@bazel/bazel-linux_x64" -maxdepth 1 -name 'bazel-*' -type f | head -n 1)
  [ -n "$binary" ] || return 1
  chmod +x "$binary"
  printf '#!/bin/sh\nexec "%s" --nosystem_rc --nohome_rc "$@"\n' "$binary" >.work/bazel
  chmod +x .work/bazel
}

missing=$(missing_packages)
if [ -n "$missing" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  # shellcheck disable=SC2086
  apt_install $missing || echo "setup: apt could not install all of: ${missing//$'\n'/ }" >&2
fi
if ! has_bazel && command -v npm >/dev/null; then
  bazel_from_npm || echo "setup: npm could not install Bazel" >&2
fi
missing=$(missing_packages)
[ -z "$missing" ] || fail "missing: ${missing//$'\n'/ }; as root: apt-get install --no-install-recommends ${missing//$'\n'/ }"

if [ ! -x "$venv/bin/python" ]; then
  "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
    fail "$python is $("$python" --version 2>&1); TensorFlow and the pins in $requirements need 3.11, 3.12 or 3.13; set PYTHON"
  "$python" -m venv "$venv"
fi
tools/setup/install_pinned.sh "$venv" "$requirements"
