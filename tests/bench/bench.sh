#!/usr/bin/env bash
# Run the benchmarks, those of hosts on the hosts of the demo: bench.sh [OPTIONS of role_cost.py]
set -euo pipefail
python tests/bench/facts_speed.py client-debian12 client-debian13 client-el
PYTHONPATH="$ANSIBLE_COLLECTIONS_PATH" python tests/bench/monitor_cost.py client-debian12 client-debian13 client-el nts1 nts2
python tests/bench/role_cost.py client-debian13 "$@"
tests/stages/browser.sh ../bench/report_speed.mjs
