#include "kernels/cuda/landmark/cluster_launch.cuh"
#include "kernels/cuda/landmark/step.h"
#include "kernels/cuda/landmark/update.cuh"

namespace kvg::cuda {

namespace {

// Tokens among the recent slots, row 0 of position `first`.
struct RecentTokens {
  const DeviceDecodeCache& cache;
  const DeviceDecodePlan& plan;
  int32_t layer;
  int64_t first;

  template <int kDim>
  __device__ LaneVector<kDim> load(int row, int kv_head, bool value) const {
    const int64_t slot = (position(row) - plan.sinks) % cache.recent.capacity;
    const SlotPlace place = slot_place(cache.recent, kv_head, slot, value);
    LaneVector<kDim> x = decode_vector<kDim>(*place.codec, place.codes, place.scale);
    if (place.codec->rotates) {
      x = rotate_vector<kDim>(*place.codec, {layer, kv_head, value}, x, true);
    }
    const Rounding round{true};
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) x[i] = round(x[i]);
    return x;
  }
  __device__ float gate(int row) const { return cache.gates[position(row) % plan.window]; }
  __device__ int64_t position(int row) const { return first + row; }
};

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
  const auto ctas = static_cast<unsigned>(p.plan.layers * p.plan.sequences * p.layout.shape.ctas);
  if (ctas == 0) return cudaSuccess;
  switch (p.layout.shape.head_dim) {
    case 64:
      return launch_clusters(landmark_step_kernel<64>, p, p.layout, ctas, stream);
    case 128:
      return launch_clusters(landmark_step_kernel<128>, p, p.layout, ctas, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace kvg::cuda
