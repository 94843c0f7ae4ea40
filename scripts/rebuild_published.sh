#!/usr/bin/env bash
# Makes the published reports again from their records: scripts/rebuild_published.sh [folder under reports/published]
set -euo pipefail
cd "$(dirname "$0")/.."
program=${KVGAUGE:-build/cpu/kvgauge}
[[ -x "$program" ]] || { scripts/setup.sh; scripts/build.sh cpu kvgauge; }
found=0
for record in reports/published/${1:-*}/*/run.json; do
  [[ -e "$record" ]] || continue
  "$program" report "$(dirname "$record")"
  found=1
done
[[ $found == 1 ]] || { echo "rebuild_published: no records under reports/published/${1:-}" >&2; exit 1; }
