#include "kernels/cuda/attention/table.h"

#include "base/error.h"

#include <algorithm>
#include <iterator>

namespace kvg::cuda {

namespace {

// The best first. Half a tile serves blocks that would leave the other half empty.
constexpr PrefillKernel kKernels[] = {
    // name, capability, head_dim, streams, dense only, most rows, tile rows
    {"mma 64, half tile", 80, 64, 0, false, kPrefillTileRows / 2, kPrefillTileRows / 2,
     launch_prefill_hd64_half},
    {"mma 64", 80, 64, 0, false, 0, kPrefillTileRows, launch_prefill_hd64},
    {"mma 128, half tile", 80, 128, 0, false, kPrefillTileRows / 2, kPrefillTileRows / 2,
     launch_prefill_hd128_half},
    {"mma 128", 80, 128, 0, false, 0, kPrefillTileRows, launch_prefill_hd128},
};

bool serves(const PrefillKernel& kernel, const PrefillCase& wanted) {
  return wanted.compute_capability >= kernel.compute_capability &&
         wanted.head_dim == kernel.head_dim &&
         (kernel.streams == 0 || wanted.streams == kernel.streams) &&
         (!kernel.dense_only || wanted.dense) &&
         (kernel.most_rows == 0 || wanted.block_rows <= kernel.most_rows);
}

}  // namespace

const PrefillKernel& choose_prefill_kernel(const PrefillCase& wanted) {
  const auto* found = std::find_if(std::begin(kKernels), std::end(kKernels),
                                   [&](const PrefillKernel& row) { return serves(row, wanted); });
  KVG_CHECK(found != std::end(kKernels), "prefill attention: head_dim 64 or 128, capability 8.0");
  return *found;
}

}  // namespace kvg::cuda
