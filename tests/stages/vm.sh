#!/usr/bin/env bash
# Run one part of the scenario `vm` (tests, power, clock, network) on VMs that stay for the next part: vm.sh PART
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export NTS_LAB=vm MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.build/molecule/vm LAB_STATE=$PWD/.lab/vm
export ANSIBLE_INVENTORY=$PWD/extensions/molecule/vm/inventory,$LAB_STATE/inventory.yml
export ANSIBLE_PIPELINING=true ANSIBLE_TIMEOUT=60
if ! python tests/lab/lab.py status --state "$LAB_STATE" | grep --quiet ' running '; then
  python tests/lab/lab.py down --state "$LAB_STATE"
  rm -rf "$LAB_STATE" "$MOLECULE_EPHEMERAL_DIRECTORY"
  mkdir -p "$MOLECULE_EPHEMERAL_DIRECTORY"
  molecule create --scenario-name vm
  molecule converge --scenario-name vm
fi
pytest -q --durations=0 --durations-min=1 "extensions/molecule/vm/$1"
