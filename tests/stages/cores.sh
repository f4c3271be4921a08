#!/usr/bin/env bash
# Run site.yml twice, verify.yml and restore.yml on two new hosts by every ansible-core: cores.sh [VERSION ...]
# It writes the table of results in docs/reliability.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/stages/ansible_core.sh
source tests/stages/ansible_core.sh
# shellcheck source=tests/stages/crypto.sh
source tests/stages/crypto.sh
lab=$PWD/.lab/cores
build=$PWD/.build/cores
passed=0
(($#)) || set -- 2.16 2.17 2.18 2.19 2.20 2.21 "$candidate"

# community.crypto 3 needs ansible-core 2.17; this release of PyPI's package carries 2.22.3.
install_crypto ansible==9.13.0 "$build/crypto2"
mkdir -p "$build/crypto2/ansible_collections/securetime"
[[ -e $build/crypto2/ansible_collections/securetime/nts ]] ||
  ln -s "$PWD" "$build/crypto2/ansible_collections/securetime/nts"

play() { # PLAYBOOK LOG
  ansible-playbook "securetime.nts.$1" >"$2" 2>&1 || fail "ansible-core $version: $1.yml failed" "$2"
}

trap 'python tests/lab/lab.py down --state "$lab"' EXIT
for version in "$@"; do
  if ! find_python "$(python_of "$version")" >/dev/null; then
    echo "ansible-core $version: this controller does not have Python $(python_of "$version")"
    continue
  fi
  bin=$(core "$version")
  logs=$build/logs-$version
  mkdir -p "$logs"
  python tests/lab/lab.py down --state "$lab"
  rm -rf "$lab"
  python tests/lab/lab.py up --state "$lab" server=debian13 client=el-standin
  (
    inventory "$lab"
    collections=$PWD/.build/collections
    [[ $version != 2.16 ]] || collections=$build/crypto2
    export PATH=$bin:$PATH ANSIBLE_COLLECTIONS_PATH=$collections
    play site "$logs/first"
    authenticated "$logs/first" || fail "ansible-core $version: the client is not authenticated" "$logs/first"
    play site "$logs/second"
    unchanged "$logs/second" || fail "ansible-core $version: the second run changed something" "$logs/second"
    play verify "$logs/verify"
    grep -q 'No faults' "$logs/verify" || fail "ansible-core $version: verify.yml finds faults" "$logs/verify"
    play restore "$logs/restore"
    crypto=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["collection_info"]["version"])' \
      "$collections/ansible_collections/community/crypto/MANIFEST.json")
    python tests/stages/record_core.py "$(python -c 'import ansible.release as r; print(r.__version__)')" \
      "$(python -c 'import platform; print(platform.python_version())')" "$crypto"
  )
  passed=$((passed + 1))
  echo "ansible-core $version: site.yml, a second run that changes nothing, verify.yml, restore.yml"
done
echo "$passed passed"
