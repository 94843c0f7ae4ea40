#include "kernels/cuda/attention/table.h"

#include "base/error.h"

#include <algorithm>
#include <iterator>

namespace kvg::cuda {

namespace {

// The best first. Half a tile serves blocks that would leave the other half empty; Hopper's tiles
// have no halves, and a block that fills less than a quarter of one is faster without. Dense
// kernels do nothing but copy and multiply, which the others do beside planning: 10 % faster from
// 8k on. That of head_dim 128 works with two thread blocks an item, of which both should have rows.
constexpr PrefillKernel kKernels[] = {
// name, capability, head_dim, copies, dense, least rows, most rows, tile rows, joined
#ifdef KVG_CUDA_SM90A
    {"dense wgmma 64", 90, 64, true, true, 48, 0, kDenseRowsHd64, 1, launch_prefill_dense_hd64},
    {"dense wgmma 128", 90, 128, true, true, 160, 0, kDenseRowsHd128, 1,
     launch_prefill_dense_hd128},
    {"wgmma 64", 90, 64, true, false, 48, 0, kHopperRowsHd64, 3, launch_prefill_sm90_hd64},
    {"wgmma 128", 90, 128, true, false, 32, 0, kHopperRowsHd128, 2, launch_prefill_sm90_hd128},
#endif
    {"mma 64, half tile", 80, 64, false, false, 0, kPrefillTileRows / 2, kPrefillTileRows / 2, 1,
     launch_prefill_hd64_half},
    {"mma 64", 80, 64, false, false, 0, 0, kPrefillTileRows, 1, launch_prefill_hd64},
    {"mma 128, half tile", 80, 128, false, false, 0, kPrefillTileRows / 2, kPrefillTileRows / 2, 1,
     launch_prefill_hd128_half},
    {"mma 128", 80, 128, false, false, 0, 0, kPrefillTileRows, 1, launch_prefill_hd128},
};

bool serves(const PrefillKernel& kernel, const PrefillCase& wanted) {
  // Architecture 90a is for 9.0 alone.
  const bool device = kernel.compute_capability == 90
                          ? wanted.compute_capability == 90
                          : wanted.compute_capability >= kernel.compute_capability;
  return device && wanted.head_dim == kernel.head_dim &&
         (!kernel.copies || (wanted.unrotated && wanted.groups <= kMostPlannedGroups)) &&
         (!kernel.dense || wanted.dense_rows >= kernel.least_rows) &&
         (kernel.copies || !wanted.log_sum) &&
         (wanted.log_sum || wanted.block_rows >= kernel.least_rows) &&
         (kernel.most_rows == 0 || wanted.block_rows <= kernel.most_rows);
}

}  // namespace

const PrefillKernel& choose_prefill_kernel(const PrefillCase& wanted) {
  const auto* found = std::find_if(std::begin(kKernels), std::end(kKernels),
                                   [&](const PrefillKernel& row) { return serves(row, wanted); });
  KVG_CHECK(found != std::end(kKernels),
            "prefill attention: head_dim 64 or 128, capability 8.0 (log_sum: 9.0, at most 32 "
            "groups a block)");
  return *found;
}

}  // namespace kvg::cuda
