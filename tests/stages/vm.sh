#!/usr/bin/env bash
# Run one part of the scenario `vm` (tests, power, clock, network) on new VMs: vm.sh PART
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export NTS_LAB=vm MOLECULE_EPHEMERAL_DIRECTORY=$PWD/.build/molecule/vm LAB_STATE=$PWD/.lab/vm
export ANSIBLE_INVENTORY=$PWD/extensions/molecule/vm/inventory,$LAB_STATE/inventory.yml
export ANSIBLE_PIPELINING=true ANSIBLE_TIMEOUT=60 ANSIBLE_INJECT_FACT_VARS=false
# VMs of an earlier run would carry the code of an earlier tree, and their time server ends after three hours.
remove() {
  python tests/lab/lab.py down --state "$LAB_STATE"
  rm -rf "$LAB_STATE" "$MOLECULE_EPHEMERAL_DIRECTORY"
}
remove
trap remove EXIT
mkdir -p "$MOLECULE_EPHEMERAL_DIRECTORY"
molecule create --scenario-name vm
molecule converge --scenario-name vm
pytest -q --durations=0 --durations-min=1 "extensions/molecule/vm/$1"
