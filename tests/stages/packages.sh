#!/usr/bin/env bash
# Check the controller's Python, and install the operating-system packages that the checks need. A second run changes
# nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
  echo "The checks need Python 3.11 to 3.13: make PYTHON=python3.N ..." >&2
  exit 1
fi

missing=()
"$python" -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if command -v dpkg-query >/dev/null; then
  for package in shellcheck $("$python" tests/lab/lab.py packages); do
    [[ $(dpkg-query -Wf '${Status}' "$package" 2>/dev/null) == *' installed' ]] || missing+=("$package")
  done
fi
((${#missing[@]})) || exit 0
if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "These packages are missing; install them as root: ${missing[*]}" >&2
  exit 1
fi
echo "setup: installs operating-system packages: ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
