#pragma once

#include "kernels/cuda/landmark/layout.h"

#include <cuda_runtime.h>

namespace kvg::cuda {

// `grid` CTAs in clusters of layout.shape.ctas.
template <typename Params>
cudaError_t launch_clusters(void (*kernel)(Params), const Params& params,
                            const LandmarkLayout& layout, unsigned grid, cudaStream_t stream) {
  const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                  static_cast<int>(layout.bytes));
  if (status != cudaSuccess) return status;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = static_cast<unsigned>(layout.shape.ctas);
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(grid);
  config.blockDim = dim3(kLandmarkThreads);
  config.dynamicSmemBytes = layout.bytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = layout.shape.ctas > 1 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace kvg::cuda
