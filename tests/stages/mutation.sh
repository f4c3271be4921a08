#!/usr/bin/env bash
# Mutate the verdict, the parser, the rules, the plan and the decision in one place at a time, and run the unit tests
# that reach this place. Fail for a mutation that no test notices and that tests/stages/mutation.yml does not explain.
# A run ends after MUTATION_SECONDS, by default three hours; the next one on the same tree continues there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=.build/mutation
copy=$(tests/stages/copy.sh mutation)
# mutmut copies the tree once more.
rm -rf "$copy/.git"
mkdir -p "$work/ansible_collections/community"
ln -sfn "$PWD/.build/collections/ansible_collections/community/crypto" "$work/ansible_collections/community/crypto"
python tests/stages/mutation.py prepare "$work"
status=0
(
  cd "$work"
  timeout --signal=INT --kill-after=60 "${MUTATION_SECONDS:-10800}" \
    mutmut run --max-children "${MUTATION_PROCESSES:-$(nproc)}" >mutmut.log 2>&1
) || status=$?
# 124: the time is over. The check counts what has not run.
((status == 0 || status == 124)) || tr '\r' '\n' <"$work/mutmut.log" | tail -n 40
python tests/stages/mutation.py check "$work"
