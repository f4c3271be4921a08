# shellcheck shell=bash
# Sourced by the stages el8 and cores: environments with one ansible-core each, and an inventory of two hosts.
# shellcheck source=tests/stages/pythons.sh
source tests/stages/pythons.sh

# This series has only release candidates yet.
candidate=2.22

python_of() { # VERSION of ansible-core: print a supported version of Python, 3.11 where possible
  case $1 in
    2.1?) echo 3.11 ;;
    2.20 | 2.21) echo 3.12 ;;
    *) echo 3.13 ;;
  esac
}

core() { # VERSION: print a folder with the programs of this ansible-core
  local folder=$PWD/.build/cores/$1 options=(--quiet --quiet --disable-pip-version-check)
  if [[ ! -e $folder/complete ]]; then
    "$(find_python "$(python_of "$1")")" -m venv --clear "$folder"
    "$folder/bin/pip" install "${options[@]}" cryptography
    [[ $1 != "$candidate" ]] || options+=(--pre)
    "$folder/bin/pip" install "${options[@]}" "ansible-core==$1.*"
    touch "$folder/complete"
  fi
  echo "$folder/bin"
}

inventory() { # LAB: write an inventory of an NTS server with its own clock, and its client
  cat >"$1/site.yml" <<END
all:
  vars: {chrony_nts_ca_dir: $1/nts-ca}
  children:
    nts_servers:
      hosts: {server: {}}
      vars:
        chrony_nts_sources: []
        chrony_nts_directives: {local: {stratum: 10}}
        chrony_nts_server_allow: [0.0.0.0/0, "::/0"]
    nts_clients:
      hosts: {client: {}}
      vars: {chrony_nts_sources: [server]}
END
  export ANSIBLE_INVENTORY=$1/site.yml,$1/inventory.yml
  export ANSIBLE_PIPELINING=true ANSIBLE_PYTHON_INTERPRETER=auto_silent ANSIBLE_FORCE_COLOR=false
}

unchanged() { # LOG: succeed if a run changed neither host and failed on none
  [[ $(grep -c ' changed=0 .* failed=0 ' "$1") == 2 ]]
}

authenticated() { # LOG: succeed if the closing table shows an authenticated client
  grep -q '^ *"client .* authenticated ' "$1"
}

fail() { # MESSAGE [LOG]: end the stage; `passed` is its count
  [[ -z ${2-} ]] || tail -n 40 "$2"
  echo "$1"
  echo "1 failed, ${passed:-0} passed"
  exit 1
}
