# shellcheck shell=bash
# Sourced by the stages: install_crypto ANSIBLE_PACKAGE FOLDER puts community.crypto of that release of PyPI's package
# `ansible` into FOLDER, where it is missing. Not every network reaches Galaxy.

install_crypto() {
  local collection=$2/ansible_collections/community/crypto wheel=.build/wheel
  [[ ! -e $collection/MANIFEST.json ]] || return 0
  echo "setup: installs community.crypto into $2"
  rm -rf "$wheel" "$collection"
  mkdir -p "$wheel" "${collection%/*}"
  .venv/bin/pip download --quiet --disable-pip-version-check --no-deps --dest "$wheel" "$1"
  .venv/bin/python -m zipfile --extract "$wheel"/ansible-*.whl "$wheel/ansible"
  mv "$wheel/ansible/ansible_collections/community/crypto" "$collection"
  rm -r "$wheel"
}
