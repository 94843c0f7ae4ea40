#!/usr/bin/env bash
# ptxas_gate_test.sh NVCC [CCACHE]: the gate passes clean kernels and catches each thing it is for.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
nvcc=$1
ccache=${2:-}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export CCACHE_DIR=$folder/ccache

stop() { echo "ptxas_gate_test: $1" >&2; exit 1; }
# expect pass|TEXT NAMES REPORT...: runs the gate for kernels NAMES; TEXT must be in its complaint.
expect() {
  local want=$1 names=$2
  shift 2
  printf '%s\n' $names >names.txt
  if "$here/ptxas_gate.sh" names.txt table.txt "$@" >said.txt 2>&1; then
    [[ $want == pass ]] || stop "passed, expected it to say: $want"
  else
    [[ $want != pass ]] || stop "failed on clean kernels: $(cat said.txt)"
    grep -qF -- "$want" said.txt || stop "said '$(cat said.txt)', expected: $want"
    [[ ! -e table.txt ]] || stop "left a table, so that the next build would pass"
  fi
}

cat >kernels.cu <<'CUDA'
// Forty values alive at once.
__device__ INLINE void mix(float* data) {
  float x[40];
#pragma unroll
  for (int i = 0; i < 40; ++i) x[i] = data[i * 32 + threadIdx.x];
#pragma unroll
  for (int i = 0; i < 40; ++i) data[i] = x[(i * 7) % 40] * x[39 - i] + x[i];
}
__global__ void calm_kernel(float* data) { data[threadIdx.x] *= 2.0f; }
#ifdef SPILL
__global__ void crowded_kernel(float* data) { mix(data); }
#endif
CUDA

compile() { "$here/ptxas_report.sh" $ccache "$nvcc" -arch=sm_80 -Xptxas=-v "$@"; }
compile -DINLINE=__forceinline__ -c kernels.cu -o calm.cu.o
expect pass calm_kernel calm.cu.o.ptxas
grep -q 'sm_80.*gated.*calm_kernel' table.txt || stop "the table lacks calm_kernel: $(cat table.txt)"

# Twice: the second time from the cache, where there is one.
for _ in 1 2; do
  compile -DSPILL -DINLINE=__forceinline__ -maxrregcount=24 -c kernels.cu -o crowded.cu.o 2>/dev/null
  expect "crowded_kernel" "calm_kernel crowded_kernel" crowded.cu.o.ptxas
  grep -q "spills registers: [1-9]" said.txt || stop "no bytes in: $(cat said.txt)"
done
expect pass calm_kernel crowded.cu.o.ptxas  # not named, not gated
# The same in a function that the kernel calls.
compile -DSPILL -DINLINE=__noinline__ -maxrregcount=24 -c kernels.cu -o calling.cu.o
expect "mix" "calm_kernel crowded_kernel" calling.cu.o.ptxas
expect pass calm_kernel calling.cu.o.ptxas

# Warnings count whoever they are about, on whichever kind of line.
for code in C7508 C7510 C7517; do
  for kind in info warning; do
    sed "1i ptxas $kind    : ($code) planted" calm.cu.o.ptxas >planted.cu.o.ptxas
    expect "($code) planted" calm_kernel planted.cu.o.ptxas
  done
done
sed '1i ptxas info    : (C7519) harmless' calm.cu.o.ptxas >planted.cu.o.ptxas
expect pass calm_kernel planted.cu.o.ptxas

expect "no kernel is called gone_kernel" "calm_kernel gone_kernel" calm.cu.o.ptxas
expect "no kernel is called alm_kernel" alm_kernel calm.cu.o.ptxas
expect "found no missing.cu.o.ptxas" calm_kernel calm.cu.o.ptxas missing.cu.o.ptxas

# What the launcher must not swallow: other messages, and the compiler's failure.
echo 'int unused() { static int nobody = 1; return 2; }' >warn.cu
compile -Xcompiler=-Wall -c warn.cu -o warn.cu.o 2>said.txt
grep -q nobody said.txt || stop "a warning of the compiler was lost"
echo 'this is no CUDA' >broken.cu
if compile -c broken.cu -o broken.cu.o 2>said.txt; then stop "a broken source compiled"; fi
[[ -s said.txt ]] || stop "the compiler's error was lost"
echo "ptxas_gate_test: passed"
