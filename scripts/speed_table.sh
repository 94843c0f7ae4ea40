#!/usr/bin/env bash
# Measures every row of the speed table and prints it: scripts/speed_table.sh [folder [row...]]
# One command a row, in one process with what it is compared with; about seven minutes on an H200. Rows that are
# named are measured again, the others are read as the folder has them. KERNEL_BENCH and KVGAUGE name the programs,
# which want cuDNN as a peer (bench/README.md).
set -uo pipefail
out=${1:+$(realpath -m -- "$1")}
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,5s/^# //p' "$0"; exit 0; }
bench=${KERNEL_BENCH:-build/cuda/bench/kernels/kernel_bench}
kvgauge=${KVGAUGE:-build/cuda/kvgauge}
out=${out:-runs/speed}
shift || true
rows=" $* "
landmark="landmark(window=256,exact=64,summary=64)"
mkdir -p "$out"

# row NAME COMMAND...: the command and what it prints go to NAME.log. A row that fails leaves the others alone.
row() {
  local name=$1
  shift
  [[ $rows == "  " || $rows == *" $name "* ]] || return 0
  local begin=$SECONDS
  rm -rf "${out:?}/$name" "$out/$name.json"
  printf '%q ' "$@" >"$out/$name.log"
  timeout 240 "$@" >>"$out/$name.log" 2>&1
  local code=$?
  echo "$name: $((SECONDS - begin)) s, exit code $code" >&2
}
# kernels NAME FILTER: rows of kernel_bench, all of them cool and then all of them busy.
kernels() {
  row "$1" "$bench" --regime=cool,busy --benchmark_filter="$2" --benchmark_out="$out/$1.json" --benchmark_out_format=json
}
# model NAME ARGUMENTS...: a record of kvgauge bench.
model() {
  local name=$1 kind=$2
  shift 2
  row "$name" "$kvgauge" bench "$kind" --model preset:mistral-7b --run-folder "$out/$name" "$@"
}

# Exit code 1 of kvgauge bench: a ledger that does not close, which no row but the shares depends on.
kernels dense-differential '^prefill_dense/hd:128/streams:2/N:[0-9]+/warm/'
kernels dense-plain '^prefill_dense/hd:128/streams:1/N:[0-9]+/warm/'
kernels dense-64 '^prefill_dense/hd:64/streams:[12]/N:[0-9]+/warm/'
kernels blocks '^prefill_blocks/hd:128/streams:2/(block:[0-9]+/)?N:8192/warm/'
model prefill latency --methods "$landmark" --attention-peer cudnn --contexts 8k,32k,128k --stages prefill --repeats 4 --chunk 8192
model decode latency --methods "$landmark" --contexts 8k --stages decode --repeats 5
model batch-256 capacity --methods "full,$landmark" --contexts 8k --largest-batch 256 --repeats 3
model eden latency --methods "full,full+eden(bits=4)" --contexts 32k --batches 16 --stages decode --repeats 3

for name in $rows; do
  [[ -e $out/$name.log ]] || echo "speed_table: there is no row '$name'" >&2
done
python3 scripts/speed_table.py "$out" | tee "$out/table.md"
