#!/usr/bin/env bash
# Install the requirements of the checks: operating-system packages, .venv, and .build/collections, where Ansible finds
# this checkout (a symbolic link) and community.crypto. A second run changes nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/stages/crypto.sh
source tests/stages/crypto.sh
python=${PYTHON:-python3}
# This release of PyPI's package carries community.crypto 3.0.5.
ansible_package=ansible==12.3.0
collections=.build/collections/ansible_collections

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
if ((${#missing[@]})); then
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "These packages are missing; install them as root: ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: installs operating-system packages: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
fi

# Through a link, --clear would delete the environment of another checkout.
if [[ ! -L .venv && ! .venv/ready -nt requirements-dev.txt ]]; then
  echo "setup: installs the Python packages of requirements-dev.txt into .venv"
  "$python" -m venv --clear .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
  touch .venv/ready
fi

install_crypto "$ansible_package" .build/collections

mkdir -p "$collections/securetime"
[[ -e $collections/securetime/nts ]] || ln -s ../../../.. "$collections/securetime/nts"
