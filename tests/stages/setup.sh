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

tests/stages/packages.sh
tests/stages/link.sh

old=
# Through a link, --clear would delete the environment of another checkout.
[[ -L .venv || .venv/ready -nt requirements-dev.txt ]] || old=yes
if [[ -n $old ]]; then
  "$python" -m venv --clear .venv
  # The pip of an older Python takes twice as long. Python compiles what it imports; the whole would take 10 s.
  .venv/bin/pip install --quiet --disable-pip-version-check --no-compile pip==26.3
fi
# The two downloads take as long together as one alone.
install_crypto "$ansible_package" .build/collections &
if [[ -n $old ]]; then
  echo "setup: installs the Python packages of requirements-dev.txt into .venv"
  # The file names every package that these packages need, as the last command checks.
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --requirement requirements-dev.txt
  .venv/bin/pip check
  touch .venv/ready
fi
wait $!
