#!/usr/bin/env bash
# What limits the kernels of one phase of one method: an Nsight Compute report of its first launches,
# clocks left as they are. Decode steps are issued without a graph, so that kernels have a phase.
set -euo pipefail
cd "$(dirname "$0")/.."
own_options="  --launches  kernels to look at (default: 8)
  --skip      kernels of the phase to pass over before (default: 0)
  --set       ncu's set of sections: basic, detailed, full (default: full)"
launches=8 skip=0 set=full
own_option() {
  case $1 in
    --launches) launches=$2 ;;
    --skip) skip=$2 ;;
    --set) set=$2 ;;
    *) return 1 ;;
  esac
}
. scripts/profile_common.sh
parse "$@"
ncu=$(find_tool ncu "Nsight Compute")
prepare

# Phases of decode steps are named step.PHASE; the prefill before them is not.
prefix=
[[ $stage == decode ]] && prefix=step.
include=()
for name in ${phases}; do
  [[ $phase == all || $phase == "$name" ]] && include+=(--nvtx-include "kvgauge@$prefix$name/")
done
report=$out.ncu-rep
rm -f "$report"
"$ncu" --clock-control none --nvtx "${include[@]}" --launch-skip "$skip" --launch-count "$launches" \
  --kill on --set "$set" --force-overwrite --export "$out" "${command[@]}" >"$record/log" 2>&1 || true
if [[ ! -s $report ]]; then
  tail -n 5 "$record/log" >&2
  stop "ncu left no report; found no kernel of phase $phase, or the lines above say why"
fi
echo "report $report"
