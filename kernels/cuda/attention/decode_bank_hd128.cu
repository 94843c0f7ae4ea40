#include "kernels/cuda/attention/decode_bank_kernel.cuh"
#include "kernels/cuda/attention/decode_launch.h"
#include "kernels/cuda/cluster_launch.cuh"

#include <algorithm>
#include <cstdint>

namespace kvg::cuda {

cudaError_t launch_decode_bank_hd128(const DecodeAttentionLaunch& params, cudaStream_t stream) {
  constexpr uint32_t kBytes = sizeof(BankShared<128>);
  static_assert(kBytes <= 227 * 1024);
  DecodeAttentionLaunch p = params;
  // A power of two, so that teams fill a block.
  p.grid.splits = 1;
  while (p.grid.splits < kBankWarps && 2 * p.grid.splits <= params.grid.splits) p.grid.splits *= 2;
  const int32_t teams = kBankWarps / p.grid.splits;
  const int32_t blocks = (p.sequences * p.kv_heads + teams - 1) / teams;
  const ClusterLaunch shape{.clusters = std::min(blocks, p.grid.blocks),
                            .ctas = 1,
                            .threads = 32 * kBankWarps,
                            .shared_bytes = kBytes,
                            .cluster = false,
                            .overlaps = p.overlaps};
  return launch_clusters(decode_bank_kernel<128>, p, shape, stream);
}

}  // namespace kvg::cuda
