#!/usr/bin/env bash
# Mutate the decision, the verdict, the parser, the rules and the plan in one place at a time, and run the unit tests of
# the file. Fail for a mutation that no test notices and that tests/stages/mutation.yml does not explain.
# A run ends after MUTATION_SECONDS, by default three hours; the next one on the same tree continues there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=.build/mutation
copy=$(tests/stages/copy.sh mutation)
# mutmut copies the tree once more.
rm -rf "$copy/.git"
mkdir -p "$work/ansible_collections/community"
ln -sfn "$PWD/.build/collections/ansible_collections/community/crypto" "$work/ansible_collections/community/crypto"
folders=$(python tests/stages/mutation.py prepare "$work")
end=$((SECONDS + ${MUTATION_SECONDS:-10800}))
for folder in $folders; do
  status=0
  ((end > SECONDS)) || break
  (
    cd "$folder"
    timeout --signal=INT --kill-after=60 $((end - SECONDS)) \
      mutmut run --max-children "${MUTATION_PROCESSES:-$(nproc)}" >mutmut.log 2>&1
  ) || status=$?
  # 124: the time is over. The check counts what has not run.
  ((status == 0 || status == 124)) || tr '\r' '\n' <"$folder/mutmut.log" | tail -n 40
done
python tests/stages/mutation.py check "$work"
