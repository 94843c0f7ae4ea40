#pragma once

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

  constexpr int kBytes = sizeof(GatedShared<kColumns>);
  static_assert(kBytes <= 227 * 1024);
  const auto* kernel = reinterpret_cast<const void*>(gated_product_kernel<kColumns>);
  status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim.x = kGatedCluster;
  attributes[0].val.clusterDim.y = attributes[0].val.clusterDim.z = 1;
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  const int64_t of_cluster = int64_t{kGatedCluster} * kColumns;
  const int64_t clusters = (p.out + of_cluster - 1) / of_cluster;
  config.gridDim = dim3(static_cast<unsigned>(clusters * kGatedCluster));
  config.blockDim = dim3(kGatedThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  return cudaLaunchKernelEx(&config, gated_product_kernel<kColumns>, params);
}

}  // namespace kvg::cuda
