#include "kernels/cuda/gemm/gated_sm90.h"

#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/gemm/gated_sm90_launch.h"

namespace kvg::cuda {

namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

// A round takes as long as a tile has columns. 112 are what the registers hold: 14336 columns are
// 128 such tiles, 13824 are 124, one round of 132 multiprocessors. 88 are for 11008: 126 tiles,
// also one round, which is shorter by a fifth.
int gated_tile_columns(int64_t out, int multiprocessors) {
  int best = 0;
  // A quarter of the device is the most that may have nothing to do on the average.
  int64_t best_time = out * 4 / (3 * int64_t{multiprocessors}) + 1;
  for (const int columns : {112, 88}) {
    const int64_t time = ceil_div(ceil_div(out, columns), multiprocessors) * columns;
    if (time >= best_time) continue;
    best_time = time;
    best = columns;
  }
  return best;
}

cudaError_t launch(const GatedLaunch& p, cudaStream_t stream) {
  if (!gated_serves(p.rows, p.in, p.out)) return cudaErrorInvalidValue;
  if (!runs_sm90_code()) return cudaErrorNotSupported;
  if (p.tile_columns == 88) return launch_gated_88(p, stream);
  if (p.tile_columns == 112) return launch_gated_112(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
