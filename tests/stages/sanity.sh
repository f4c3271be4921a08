#!/usr/bin/env bash
# Run ansible-test sanity, without an ignore file: for all files on every Python, or with `controller` for the plugins on
# the controller's Python alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[[ ${1:-} != controller ]] || set -- --python "$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" plugins/
# ansible-test would download this script; Python's ensurepip does the same without a network.
sources=$(echo .venv/lib/python3*/site-packages/ansible_test/_internal)
version=$(sed -nE "s/^ +pip='([0-9.]+)',$/\1/p" "$sources/python_requirements.py")
script=~/.ansible/test/cache/get_pip_${version//./_}.py
mkdir -p "${script%/*}"
[[ -e $script ]] || echo 'import ensurepip; ensurepip.bootstrap(default_pip=True)' >"$script"
# ansible-test tries every python3.N in PATH; pyenv's shims answer only for the selected versions.
if command -v pyenv >/dev/null; then
  PATH=$PWD/.venv/bin:$(printf '%s:' "$(pyenv root)"/versions/3*/bin)$PATH
fi
cd "$(tests/stages/copy.sh sanity)"
ansible-test sanity --color no "$@"
# Its own summary counts nothing when all is well.
echo "1 passed"
