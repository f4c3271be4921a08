#!/usr/bin/env bash
# Run the benchmarks, those of hosts on the hosts of the demo: bench.sh [OPTIONS of role_cost.py]. A limit that one of
# them exceeds does not stop the others.
set -euo pipefail
status=0
measure() { "$@" || status=$?; }
measure python tests/bench/facts_speed.py client-debian12 client-debian13 client-el
PYTHONPATH="$ANSIBLE_COLLECTIONS_PATH" measure python tests/bench/monitor_cost.py \
  client-debian12 client-debian13 client-el nts1 nts2
measure python tests/bench/role_cost.py client-debian13 "$@"
measure tests/stages/browser.sh ../bench/report_speed.mjs
exit "$status"
