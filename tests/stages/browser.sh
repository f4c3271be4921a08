#!/usr/bin/env bash
# Look at the page of securetime.nts.report in Debian's Chromium (tests/browser).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

missing=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if ((${#missing[@]})); then
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "These packages are missing; install them as root: ${missing[*]}" >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
fi
cd tests/browser
[[ node_modules/.package-lock.json -nt package-lock.json ]] || npm ci --ignore-scripts --no-audit --no-fund
[[ $# == 0 ]] || exec node "$@"
status=0
# Node 18 knows no other reporter that counts.
node --test --test-reporter=tap . >../../.build/browser.tap || status=$?
grep -E '^ *(not ok|ok|# (pass|fail))' ../../.build/browser.tap
((status == 0)) || sed -n '/^ *not ok/,/^ *\.\.\./p' ../../.build/browser.tap
echo "$(sed -n 's/^# pass //p' ../../.build/browser.tap) passed, $(sed -n 's/^# fail //p' ../../.build/browser.tap) failed"
rm ../../.build/browser.tap
exit "$status"
