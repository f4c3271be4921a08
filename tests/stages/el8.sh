#!/usr/bin/env bash
# Run site.yml on el-standin with the Pythons of Enterprise Linux 8, by one ansible-core after the other.
# 2.16 uses the platform's Python 3.6. Newer ones refuse that with an error, and use a newer Python beside it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/stages/ansible_core.sh
source tests/stages/ansible_core.sh
lab=$PWD/.lab/el8
build=$PWD/.build/el8
passed=0

if ! platform=$(find_python 3.6) || ! newer=$(find_python 3.12); then
  echo "Python 3.6 or 3.12: this controller does not have it"
  echo "0 passed"
  exit
fi
if [[ ! -e $build/platform/complete ]]; then
  rm -rf "$build/platform"
  mkdir -p "$build"
  cp -a "$("$platform" -c 'import sys; print(sys.prefix)')" "$build/platform"
  "$platform" -m venv --clear "$build/venv"
  "$build/venv/bin/pip" install --quiet --quiet 'pip==21.3.1'
  # Enterprise Linux 8 has this version.
  "$build/venv/bin/pip" install --quiet --quiet --target "$build/platform/lib/python3.6/site-packages" 'cryptography==3.2.1'
  touch "$build/platform/complete"
fi

site() { # VERSION LOG
  PATH=$(core "$1"):$PATH ansible-playbook securetime.nts.site >"$2" 2>&1
}

bare() { # HOST: bring a host back to its state before the first run
  podman exec "$(container "$1")" sh -c '
    systemctl disable --quiet --now nts-certificate.timer chronyd
    dnf --quiet --assumeyes remove chrony
    rm -rf /etc/chrony* /etc/sysconfig/chronyd* /var/lib/chrony /var/lib/securetime-nts \
      /etc/systemd/system/chronyd.service.d /etc/systemd/system/nts-certificate.* /usr/local/sbin/nts-certificate
    systemctl daemon-reload' >/dev/null 2>&1 || true
}

container() {
  sed -n "/^    $1:/,/lab_container/s/.*lab_container: \"\(.*\)\"/\1/p" "$lab/inventory.yml"
}

run_by() { # VERSION PYTHON: run on bare hosts, and again without a change
  rm -rf "$lab/nts-ca"
  bare server
  bare client
  site "$1" "$build/first-$1.log" || fail "$1: the first run failed" "$build/first-$1.log"
  site "$1" "$build/second-$1.log" || fail "$1: the second run failed" "$build/second-$1.log"
  unchanged "$build/second-$1.log" || fail "$1: the second run changed something" "$build/second-$1.log"
  authenticated "$build/second-$1.log" || fail "$1: the client is not authenticated" "$build/second-$1.log"
  podman exec "$(container server)" sh -ec '
    head -n 1 /usr/local/sbin/nts-certificate | grep --text --quiet "^#!/usr/libexec/platform-python"
    systemctl start nts-certificate.service && nts-certificate check' || fail "$1: nts-certificate failed"
  echo "ansible-core $1 with $2: configured server and client, changed nothing by a second run"
  passed=$((passed + 1))
}

python tests/lab/lab.py up --state "$lab" server=el-standin client=el-standin
trap 'python tests/lab/lab.py down --state "$lab"' EXIT
inventory "$lab"
export ANSIBLE_COLLECTIONS_PATH=$PWD/.build/collections
for host in server client; do
  tests/lab/el8.sh "$(container "$host")" "$build/platform"
done

run_by 2.16 "the platform's Python 3.6"
for version in 2.17 2.19 2.21; do
  if site "$version" "$build/refused-$version.log"; then fail "$version: took Python 3.6" "$build/refused-$version.log"; fi
  grep -q "server: .* A host needs Python 3.6 for ansible-core 2.16, 3.7 for 2.17" "$build/refused-$version.log" ||
    fail "$version: no sentence about Python" "$build/refused-$version.log"
  echo "ansible-core $version with Python 3.6 alone: refused with a sentence"
  passed=$((passed + 1))
done
for host in server client; do
  tests/lab/el8.sh "$(container "$host")" "$build/platform" "$("$newer" -c 'import sys; print(sys.prefix)')"
done
for version in 2.16 2.17 2.18 2.19 2.20 2.21; do
  run_by "$version" "Python 3.12 beside 3.6"
done
echo "$passed passed"
