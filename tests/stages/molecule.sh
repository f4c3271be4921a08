#!/usr/bin/env bash
# Run one scenario of molecule on hosts of its own: molecule.sh SCENARIO [save | copies]
#   save     at the end, save the hosts, which `copies` needs
#   copies   start with copies of the hosts that the scenario default has saved, and not with bare ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scenario=$1 hosts=${2-}
lab=.lab/$scenario
export NTS_LAB=$scenario MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.build/molecule/$scenario
if [[ $hosts == copies ]]; then export NTS_SAVED_LAB=$PWD/.lab/default NTS_CONVERGE=copies; fi
# An interrupted run leaves hosts and molecule's state files.
python tests/lab/lab.py down --state "$lab"
rm -rf "$lab" "$MOLECULE_EPHEMERAL_DIRECTORY"
mkdir -p "$MOLECULE_EPHEMERAL_DIRECTORY"
options=(--scenario-name "$scenario" --no-command-borders)
if [[ $hosts == save ]]; then
  options+=(--destroy never)
  trap '[[ $? == 0 ]] || python tests/lab/lab.py down --state "$lab"' EXIT
fi
molecule test "${options[@]}" 2>&1 | tee ".build/molecule/$scenario.output"
# Molecule only warns of a playbook of the sequence that does not exist.
if grep --quiet 'Missing playbook' ".build/molecule/$scenario.output"; then exit 1; fi
if [[ $hosts == save ]]; then python tests/lab/lab.py save --state "$lab"; fi
