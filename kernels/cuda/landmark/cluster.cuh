#pragma once

#include <cstdint>

#include <cooperative_groups.h>

// The CTAs that work on one layer and one sequence. Below compute capability 9.0 there are no
// clusters, and one CTA works alone.
namespace kvg::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900

__device__ inline int cluster_rank() {
  return static_cast<int>(cooperative_groups::this_cluster().block_rank());
}
// All threads of all CTAs; what was written to shared memory before is visible after.
__device__ inline void cluster_sync() { cooperative_groups::this_cluster().sync(); }
// The same place in the shared memory of another CTA.
template <typename T>
__device__ inline const T* peer_memory(const T* mine, int rank) {
  return cooperative_groups::this_cluster().map_shared_rank(const_cast<T*>(mine), rank);
}

#else

__device__ inline int cluster_rank() { return 0; }
__device__ inline void cluster_sync() { __syncthreads(); }
template <typename T>
__device__ inline const T* peer_memory(const T* mine, int) {
  return mine;
}

#endif

}  // namespace kvg::cuda
