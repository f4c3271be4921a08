#!/usr/bin/env bash
# Run one scenario of molecule from nothing, on hosts of its own: molecule.sh SCENARIO
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scenario=$1
export NTS_LAB=$scenario MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.build/molecule/$scenario
# An interrupted run leaves hosts and molecule's state files.
python tests/lab/lab.py down --state ".lab/$scenario"
rm -rf ".lab/$scenario" "$MOLECULE_EPHEMERAL_DIRECTORY"
mkdir -p "$MOLECULE_EPHEMERAL_DIRECTORY"
molecule test --scenario-name "$scenario" --no-command-borders 2>&1 | tee ".build/molecule/$scenario.output"
# Molecule only warns of a playbook of the sequence that does not exist.
! grep --quiet 'Missing playbook' ".build/molecule/$scenario.output"
