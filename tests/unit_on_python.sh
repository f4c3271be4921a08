#!/usr/bin/env bash
# Run the unit tests of what runs on managed hosts, on the Python of the version given, of pyenv or of the system.
set -euo pipefail
version=$1
python=
if command -v pyenv >/dev/null; then
  python=$(find "$(pyenv root)/versions" -path "*/$version.*/bin/python" | sort | tail -n 1)
fi
[[ -n $python ]] || python=$(command -v "python$version" || true)
if [[ -z $python ]] || ! "$python" -c '' 2>/dev/null; then
  echo "-- Python $version: skipped, this machine does not have it"
  exit 0
fi
venv=.build/pythons/$version
if [[ ! -e $venv/ready ]]; then
  "$python" -m venv --clear "$venv"
  # The pip that comes with 3.6 takes releases that are not for it.
  if [[ $version == 3.6 ]]; then "$venv/bin/pip" install --quiet --quiet 'pip==21.3.1'; fi
  "$venv/bin/pip" install --quiet --quiet --disable-pip-version-check pytest hypothesis
  touch "$venv/ready"
fi
status=0
output=$("$venv/bin/python" -m pytest --quiet tests/unit/plugins/module_utils 2>&1) || status=$?
if [[ $status == 0 ]]; then output=${output##*$'\n'}; fi
echo "-- $("$venv/bin/python" --version): $output"
exit "$status"
