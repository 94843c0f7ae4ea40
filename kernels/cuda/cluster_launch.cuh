#pragma once

#include <cstdint>

#include <cuda_runtime.h>

namespace kvg::cuda {

struct ClusterLaunch {
  int clusters, ctas;  // CTAs of a cluster
  int threads;
  uint32_t shared_bytes;  // of a CTA
  bool cluster;           // with the instructions of clusters, be it of one CTA
  bool overlaps = false;  // may start while the launch before it still runs (dependent_launch.cuh)
};

// CTAs of a cluster that every device of compute capability 9.0 has room for.
inline constexpr int kPortableCluster = 8;

template <typename Params>
cudaError_t launch_clusters(void (*kernel)(Params), const Params& params,
                            const ClusterLaunch& shape, cudaStream_t stream) {
  const cudaError_t status = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                  static_cast<int>(shape.shared_bytes));
  if (status != cudaSuccess) return status;
  if (shape.ctas > kPortableCluster) {
    const cudaError_t larger = cudaFuncSetAttribute(
        reinterpret_cast<const void*>(kernel), cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
    if (larger != cudaSuccess) return larger;
  }
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.cluster) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(shape.ctas);
    attributes[count].val.clusterDim.y = 1;
    attributes[count++].val.clusterDim.z = 1;
  }
  if (shape.overlaps) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.clusters * shape.ctas));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, params);
}

}  // namespace kvg::cuda
