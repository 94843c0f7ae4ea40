#pragma once

#include "kernels/cuda/cluster_launch.cuh"
#include "kernels/cuda/gemm/gated_sm90.h"
#include "kernels/cuda/gemm/gated_sm90_kernel.cuh"
#include "kernels/cuda/gemm/gated_sm90_launch.h"
#include "kernels/cuda/hopper/tensor_map.h"

#include <cstdint>

namespace kvg::cuda {

template <int kColumns>
cudaError_t launch_gated(const GatedLaunch& p, cudaStream_t stream) {
  GatedParams params;
  const int in = static_cast<int>(p.in);
  cudaError_t status = hopper::make_row_map(&params.weight, p.weight, 2 * p.out, in, kColumns);
  if (status != cudaSuccess) return status;
  status = hopper::make_row_map(&params.x, p.x, p.rows, in, kGatedRows / kGatedCluster);
  if (status != cudaSuccess) return status;
  params.result = static_cast<__nv_bfloat16*>(p.result);
  params.rows = static_cast<int32_t>(p.rows);
  params.out = static_cast<int32_t>(p.out);
  params.steps = static_cast<int32_t>((p.in + kGatedStep - 1) / kGatedStep);

  constexpr uint32_t kBytes = sizeof(GatedShared<kColumns>);
  static_assert(kBytes <= 227 * 1024);
  const int64_t of_cluster = int64_t{kGatedCluster} * kColumns;
  const ClusterLaunch shape{.clusters = static_cast<int>((p.out + of_cluster - 1) / of_cluster),
                            .ctas = kGatedCluster,
                            .threads = kGatedThreads,
                            .shared_bytes = kBytes,
                            .cluster = true,
                            .overlaps = true};
  return launch_clusters(gated_product_kernel<kColumns>, params, shape, stream);
}

}  // namespace kvg::cuda
