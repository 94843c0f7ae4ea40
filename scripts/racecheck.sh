#!/usr/bin/env bash
# Looks for data races in shared memory: compute-sanitizer's racecheck on the tests that are small enough for it.
# For a machine with a GPU, after scripts/build.sh cuda cuda_landmark_test cuda_prefill_test cuda_ops_test cuda_decode_test; a minute.
# COMPUTE_SANITIZER names the tool, BUILD the build folder (default: build/cuda).
#
# The tool must be 2026.1 (CUDA 13.2) or newer; pip install nvidia-cuda-sanitizer-api brings one. 2025.3 (CUDA 13.0)
# notes a warp at a barrier too late, after what faster warps do behind it, and reports races that are none.
set -euo pipefail
cd "$(dirname "$0")/.."
[[ ${1:-} != --help && ${1:-} != -h ]] || { sed -n '2,4s/^# //p' "$0"; exit 0; }
stop() { echo "racecheck: $1" >&2; exit 1; }

tool=${COMPUTE_SANITIZER:-compute-sanitizer}
tests=${BUILD:-build/cuda}/kernels/cuda
command -v "$tool" >/dev/null || stop "found no $tool, expected NVIDIA's Compute Sanitizer on PATH or in COMPUTE_SANITIZER"
nvidia-smi -L >/dev/null 2>&1 || stop "found no GPU, expected an NVIDIA GPU and its driver"
version=$("$tool" --version | sed -n 's/^Version \([0-9.]*\).*/\1/p')
[[ $(printf '%s\n' 2026.1 "$version" | sort -V | head -n 1) == 2026.1 ]] ||
  stop "found Compute Sanitizer $version, expected 2026.1 or newer (why: the top of this script)"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# check PROGRAM TEST KERNELS: the kernels whose names contain that.
check() {
  [[ -x $tests/$1 ]] || stop "found no $tests/$1, expected it built by scripts/build.sh cuda $1"
  "$tool" --tool racecheck --kernel-name "kernel_substring=$3" --error-exitcode 1 \
    "$tests/$1" --gtest_filter="$2" >"$log" 2>&1 || { cat "$log" >&2; stop "$2 failed"; }
  echo "$2: $(sed -n 's/^=* RACECHECK SUMMARY: //p' "$log")"
}
check cuda_landmark_test CudaLiveLandmarkTest.FewTokens live_s
check cuda_landmark_test CudaLandmarkStepTest.FewSteps live_s
check cuda_prefill_test PrefillTest.JoinedBlocks hopper_prefill
check cuda_ops_test GatedProductTest.WritesItsRowsOnly gated_product
check cuda_decode_test DecodeBankTest.ManyShortWindowsMatchTheReference decode_bank
