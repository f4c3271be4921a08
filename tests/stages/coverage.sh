#!/usr/bin/env bash
# Measure which lines and branches of plugins/ the unit and functional tests run, in this process and in those that they
# start, and fail below 95 %. tests/stages/coverage.yml lists what runs on hosts alone. Needs root, as functional tests do.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
data=$PWD/.build/coverage
rm -rf "$data"
mkdir -p "$data"
# Absolute paths: tests start programs in other folders.
cat >"$data/rc" <<EOF
[run]
branch = true
parallel = true
patch = subprocess, _exit
source = $PWD/plugins
data_file = $data/data
disable_warnings = no-data-collected
[report]
# So that a file that no test imports counts, too.
include_namespace_packages = true
[json]
output = $data/coverage.json
[html]
directory = $data/html
EOF
coverage run --rcfile="$data/rc" -m pytest -q --numprocesses auto tests/unit
coverage run --rcfile="$data/rc" -m pytest -q --numprocesses 3 --dist loadfile tests/functional
coverage combine --rcfile="$data/rc" --quiet
coverage json --rcfile="$data/rc" --quiet
coverage html --rcfile="$data/rc" --quiet
python tests/stages/coverage_check.py "$data/coverage.json"
