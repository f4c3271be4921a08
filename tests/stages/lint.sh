#!/usr/bin/env bash
# Run every linter, formatter and type checker but ansible-lint, and report all that fail.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
passed=0 failed=()
check() {
  echo "-- $*"
  if "$@"; then passed=$((passed + 1)); else failed+=("$1"); fi
}
mapfile -t scripts < <(git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
check ruff check
check ruff format --check
check mypy
MYPYPATH=tests/lab check mypy tests/lab/lab.py
check mypy tests/stages/run.py
check mypy tests/prose.py
check mypy docs/site/build.py
check mypy monitoring/alerts.py monitoring/dashboards.py
check vermin --quiet --no-tips --violations --target=3.6- plugins/modules plugins/module_utils
check shellcheck "${scripts[@]}"
check yamllint --strict .
# The published schema of workflows comes with the package.
check check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
check python tests/prose.py
check antsibull-changelog lint
check antsibull-docs lint-collection-docs --plugin-docs .
echo "$passed passed, ${#failed[@]} failed"
((${#failed[@]} == 0)) || { echo "Failed: ${failed[*]}" >&2; exit 1; }
