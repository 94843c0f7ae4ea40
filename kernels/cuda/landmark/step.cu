#include "kernels/cuda/cluster_launch.cuh"
#include "kernels/cuda/landmark/recent_tokens.cuh"
#include "kernels/cuda/landmark/step.h"
#include "kernels/cuda/landmark/update.cuh"

namespace kvg::cuda {

namespace {

template <int kDim>
__global__ void __launch_bounds__(kLandmarkThreads, 1)
    landmark_step_kernel(const __grid_constant__ LandmarkStepLaunch p) {
  extern __shared__ __align__(16) unsigned char shared[];
  const int64_t index = blockIdx.x / static_cast<unsigned>(p.layout.shape.ctas);
  const int64_t position = p.positions[index % p.plan.sequences];
  const int64_t begin = p.plan.evict_begin(position);
  const auto tokens = static_cast<int>(p.plan.first_recent(position) - begin);
  if (tokens <= 0) return;
  const DeviceDecodeCache& cache = p.caches[index];
  const auto layer = static_cast<int32_t>(index / p.plan.sequences);
  LandmarkWork work(shared, p.layout, p.plan.rules, layer);
  const RecentTokens source{cache, p.plan, layer, begin};
  LandmarkUpdate<kDim, RecentTokens> update(
      work, {&cache.landmark, cache.eta, p.plan.slow_dims, false}, source);
  update.evict(0, tokens, p.plan.single);
  update.close(work.bank());
  if (p.layout.shape.ctas > 1) cluster_sync();  // others may still read this CTA's memory
}

}  // namespace

cudaError_t launch(const LandmarkStepLaunch& p, cudaStream_t stream) {
  const auto clusters = static_cast<int>(p.plan.layers * p.plan.sequences);
  if (clusters == 0) return cudaSuccess;
  const ClusterLaunch shape{clusters, p.layout.shape.ctas, kLandmarkThreads, p.layout.bytes,
                            p.layout.shape.ctas > 1};
  switch (p.layout.shape.head_dim) {
    case 64:
      return launch_clusters(landmark_step_kernel<64>, p, shape, stream);
    case 128:
      return launch_clusters(landmark_step_kernel<128>, p, shape, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace kvg::cuda
