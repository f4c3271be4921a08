#!/usr/bin/env bash
# Check the dashboards against the types of Grafana's package @grafana/schema. Needs node and npm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=.build/dashboards
mkdir -p "$folder"
rm -f "$folder"/*.ts
cp tests/dashboards/{package.json,package-lock.json,schema.ts} "$folder"
for program in node npm; do
  command -v "$program" >/dev/null || { echo "The stage dashboards needs $program: install Debian's nodejs and npm" >&2; exit 1; }
done
(cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --silent)
check() {
  (cd "$folder" && node_modules/.bin/tsc --noEmit --strict --skipLibCheck --module nodenext --moduleResolution nodenext ./*.ts)
}
files=0
for file in monitoring/grafana/*.json; do
  name=$(basename "$file" .json)
  { echo 'import type { File } from "./schema";'; echo "export const ${name}: File = $(cat "$file");"; } >"$folder/$name.ts"
  files=$((files + 1))
done
check
# A check that accepts everything is none: each of these is an error.
wrong=0
while IFS='|' read -r name expression; do
  wrong=$((wrong + 1))
  sed -E "$expression" "$folder/$name.ts" >"$folder/wrong$wrong.ts"
  if cmp --silent "$folder/$name.ts" "$folder/wrong$wrong.ts"; then echo "Nothing to replace: $expression" >&2; exit 1; fi
done <<'END'
fleet|s/"type": "stat"/"type": "statt"/
fleet|s/"colorMode": "value"/"colorMode": "values"/
fleet|s/"schemaVersion": [0-9]+/"schemaVersion": "x"/
host|s/"drawStyle": "line"/"drawStyle": "lines"/
host|s/"graphTooltip": 1/"graphTooltip": 7/
host|s/"unit": "ppm",//
server|s/"mode": "absolute"/"mode": "fixed"/
server|s/"refresh": 2/"refresh": 2, "definition": "x"/
server|s/"uid": "\$\{datasource\}"/"uid": "prometheus"/
END
found=$(check || true)
for ((number = 1; number <= wrong; number++)); do
  grep -q "^wrong$number.ts" <<<"$found" || { echo "The types accept $folder/wrong$number.ts" >&2; exit 1; }
done
echo "$((files + wrong)) passed"
