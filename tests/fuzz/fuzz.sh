#!/usr/bin/env bash
# Fuzz the readers of servers' answers with this many inputs: fuzz.sh RUNS
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
fuzz=$PWD/.build/fuzz
if [[ ! -e $fuzz/ready ]]; then
  "${PYTHON:-python3}" -m venv "$fuzz"
  "$fuzz/bin/pip" install --quiet --disable-pip-version-check atheris
  touch "$fuzz/ready"
fi
mkdir -p "$fuzz/corpus"
PYTHONPATH=$PWD/.build/collections "$fuzz/bin/python" tests/fuzz/fuzz_nts.py "-atheris_runs=$1" "-runs=$1" -max_len=4096 \
  -timeout=5 -rss_limit_mb=512 "-artifact_prefix=$fuzz/" -print_final_stats=1 "$fuzz/corpus"
