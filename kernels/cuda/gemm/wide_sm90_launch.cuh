#pragma once

#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/gemm/wide_sm90.h"
#include "kernels/cuda/gemm/wide_sm90_kernel.cuh"
#include "kernels/cuda/gemm/wide_sm90_launch.h"
#include "kernels/cuda/hopper/tensor_map.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace kvg::cuda {

inline cudaError_t make_wide_maps(const WideLaunch& p, int box_rows, WideParams* params) {
  cudaError_t status;
  if (p.gated) {
    // Eight rows of G and eight of U take turns, so that a thread has both of a column of out.
    status =
        hopper::make_map(&params->weight, p.weight, std::array<int64_t, 4>{p.in, 8, 2, p.out / 8},
                         std::array<int64_t, 3>{p.in, p.in * p.out, 8 * p.in},
                         std::array{kWideStep, 8, 2, p.layout.tile_rows / 16});
  } else {
    status = hopper::make_row_map(&params->weight, p.weight, p.out, static_cast<int>(p.in),
                                  p.layout.tile_rows);
  }
  if (status != cudaSuccess) return status;
  return hopper::make_row_map(&params->x, p.x, p.rows, static_cast<int>(p.in), box_rows);
}

// Clusters of a kernel that run at the same time.
template <typename Tile, WideResult kResult>
int most_wide_clusters(cudaLaunchConfig_t config) {
  static const int kMost = [&] {
    int most = 0;
    config.gridDim = dim3(kWideCluster);
    const cudaError_t status =
        cudaOccupancyMaxActiveClusters(&most, wide_product_kernel<Tile, kResult>, &config);
    return status == cudaSuccess ? most : 0;
  }();
  return kMost;
}

template <typename Tile, WideResult kResult>
cudaError_t launch_wide(const WideLaunch& p, cudaStream_t stream) {
  WideParams params;
  cudaError_t status = make_wide_maps(p, Tile::kRows / kWideCluster, &params);
  if (status != cudaSuccess) return status;
  params.bias = static_cast<const __nv_bfloat16*>(p.bias);
  params.result = p.result;
  params.counters = static_cast<int32_t*>(p.counters);
  params.parts = static_cast<float4*>(p.parts);
  params.rows = static_cast<int32_t>(p.rows);
  params.out = static_cast<int32_t>(p.out);
  params.tile_rows = p.layout.tile_rows;
  const int64_t of_group = int64_t{kWideCluster} * p.layout.tile_rows;
  params.groups = static_cast<int32_t>(((p.gated ? 2 : 1) * p.out + of_group - 1) / of_group);
  params.steps = static_cast<int32_t>((p.in + kWideStep - 1) / kWideStep);

  constexpr int kBytes = sizeof(WideShared<Tile>);
  static_assert(kBytes <= 227 * 1024);
  const auto* kernel = reinterpret_cast<const void*>(wide_product_kernel<Tile, kResult>);
  status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = kWideCluster;
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.blockDim = dim3(kWideThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 1;
  const int most = most_wide_clusters<Tile, kResult>(config);
  if (most <= 0) return cudaErrorInvalidConfiguration;
  // Blocks that wait for each other's sums must all run.
  const int together = std::min(most, kWideMaxBlocks / kWideCluster);
  const bool shared = kResult != WideResult::f32 && p.layout.splits <= params.steps &&
                      params.groups * p.layout.splits <= together;
  params.splits = shared ? p.layout.splits : 1;
  config.gridDim =
      dim3(static_cast<unsigned>(std::min(params.groups * params.splits, most) * kWideCluster));
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, wide_product_kernel<Tile, kResult>, params);
}

template <int kRows>
cudaError_t launch_wide_rows(const WideLaunch& p, cudaStream_t stream) {
  using Tile = WideTile<kRows>;
  if constexpr (kRows <= kWideMaxGatedRows) {
    if (p.gated) return launch_wide<Tile, WideResult::gated>(p, stream);
  }
  if (p.result_type == DType::f32) return launch_wide<Tile, WideResult::f32>(p, stream);
  return launch_wide<Tile, WideResult::bf16>(p, stream);
}

}  // namespace kvg::cuda
