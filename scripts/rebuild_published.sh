#!/usr/bin/env bash
# Makes the published reports again from their records: scripts/rebuild_published.sh [folder under reports/published]
# A folder with study.yaml is a study; its runs have no pages of their own. Any other folder of runs gets one page a run.
set -euo pipefail
cd "$(dirname "$0")/.."
program=${KVGAUGE:-build/cpu/kvgauge}
[[ -x "$program" ]] || { scripts/setup.sh; scripts/build.sh cpu kvgauge; }
found=0
for folder in reports/published/${1:-*}/; do
  if [[ -e "$folder/study.yaml" ]]; then
    "$program" study "${folder%/}"
    found=1
    continue
  fi
  for record in "$folder"*/run.json; do
    [[ -e "$record" ]] || continue
    "$program" report "$(dirname "$record")"
    found=1
  done
done
[[ $found == 1 ]] || { echo "rebuild_published: no records under reports/published/${1:-}" >&2; exit 1; }
