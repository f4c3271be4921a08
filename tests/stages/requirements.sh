#!/usr/bin/env bash
# Resolve requirements-dev.in into requirements-dev.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rm -rf .build/resolve
"${PYTHON:-python3}" -m venv .build/resolve
.build/resolve/bin/pip install --quiet --upgrade --upgrade-strategy eager --requirement requirements-dev.in
{
  echo "# Written by 'make requirements' from requirements-dev.in; edit that file."
  .build/resolve/bin/pip freeze --all --exclude pip
} >requirements-dev.txt
rm -r .build/resolve
