#!/usr/bin/env bash
# The timeline of one method: an Nsight Systems report with phases as ranges, and on the console the
# kernels of one phase. Decode steps are issued without a graph, so that kernels have a phase.
set -euo pipefail
cd "$(dirname "$0")/.."
own_options=""
own_option() { return 1; }
. scripts/profile_common.sh
parse "$@"
nsys=$(find_tool nsys "Nsight Systems")
prepare

report=$out.nsys-rep
rm -f "$report"
"$nsys" profile --trace=cuda,nvtx --sample=none --cpuctxsw=none --force-overwrite=true \
  --output="$out" "${command[@]}" >"$record/log" 2>&1 || true
if [[ ! -s $report ]]; then
  tail -n 5 "$record/log" >&2
  raw=""
  [[ -s $out.qdstrm ]] && raw="; another machine's nsys can make one of $out.qdstrm"
  stop "nsys left no report, the lines above are its last$raw"
fi
filter=()
if [[ $phase != all ]]; then
  [[ $stage == decode ]] && phase=step.$phase
  filter=(--filter-nvtx "$phase@kvgauge")
fi
"$nsys" stats --force-export=true --report cuda_gpu_kern_sum "${filter[@]}" "$report" ||
  echo "${0##*/}: nsys cannot sum up its report; it opens in nsys-ui all the same" >&2
echo "report $report"
