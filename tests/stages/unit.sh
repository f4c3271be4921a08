#!/usr/bin/env bash
# Run the unit tests of the code for managed hosts on the Pythons given that this controller has: unit.sh VERSION...
# `newest` is the newest of them. 3.11 is the Python of `make unit`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/stages/pythons.sh
source tests/stages/pythons.sh
tests/stages/link.sh
known="3.14 3.13 3.12 3.10 3.9 3.8 3.7 3.6"

if [[ $* == newest ]]; then
  for version in $known; do
    if find_python "$version" >/dev/null; then
      set -- "$version"
      break
    fi
  done
fi
for version in "$@"; do
  if ! python=$(find_python "$version"); then
    printf 'Python %s: this controller does not have it\n0 passed\n' "$version"
    continue
  fi
  venv=.build/pythons/$version
  if [[ ! -e $venv/with-cryptography ]]; then
    "$python" -m venv --clear "$venv"
    # The pip of Python 3.6 takes releases that do not support it.
    if [[ $version == 3.6 ]]; then "$venv/bin/pip" install --quiet --quiet 'pip==21.3.1'; fi
    "$venv/bin/pip" install --quiet --quiet --disable-pip-version-check --no-compile pytest hypothesis cryptography
    touch "$venv/with-cryptography"
  fi
  "$venv/bin/python" --version
  "$venv/bin/python" -m pytest --quiet tests/unit/plugins/module_utils
done
