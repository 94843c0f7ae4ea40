#include "kernels/cuda/gemm/wide_sm90.h"

#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/gemm/wide_sm90_launch.h"

namespace kvg::cuda {

namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// What sharing a tile costs, in steps of the product: parts to memory and back, and the wait for
// the others. Few rows make short steps.
constexpr int64_t sharing_steps(int64_t rows) { return rows <= 64 ? 40 : 8; }

}  // namespace

// The time of a round is that of its steps, whether a tile has 112 rows of W or 128. So: the least
// rounds, and of equal ones the smaller tiles, which read W at an even pace. A tile is shared where
// there is less than half a round of them.
WideLayout wide_layout(int64_t rows, int64_t weight_rows, int64_t in, int multiprocessors) {
  const int64_t clusters = multiprocessors / 2;
  const int64_t steps = ceil_div(in, 64);
  WideLayout best;
  int64_t best_time = INT64_MAX;
  for (const int tile_rows : {112, 128}) {
    const int64_t groups = ceil_div(weight_rows, 2 * tile_rows);
    for (int splits = 1; splits <= 4; splits *= 2) {
      if (splits > 1 && groups * splits > clusters) break;
      const int64_t time = splits == 1 ? ceil_div(groups, clusters) * steps
                                       : ceil_div(steps, splits) + sharing_steps(rows);
      if (time >= best_time) continue;
      best_time = time;
      best = {tile_rows, splits};
    }
  }
  return best;
}

cudaError_t launch(const WideLaunch& p, cudaStream_t stream) {
  const auto [tile_rows, splits] = p.layout;
  const bool layout = tile_rows >= 80 && tile_rows <= 128 && tile_rows % 16 == 0 &&
                      (splits == 1 || splits == 2 || splits == 4);
  if (!wide_serves(p.rows, p.in, p.out) || !layout) return cudaErrorInvalidValue;
  if (p.gated &&
      (p.rows > kWideMaxGatedRows || p.bias != nullptr || p.result_type != DType::bf16)) {
    return cudaErrorInvalidValue;
  }
  if (!runs_sm90_code()) return cudaErrorNotSupported;
  if (p.rows <= 64) return launch_wide_64(p, stream);
  if (p.rows <= 128) return launch_wide_128(p, stream);
  return launch_wide_256(p, stream);
}

}  // namespace kvg::cuda
