#include "kernels/cuda/cluster_launch.cuh"
#include "kernels/cuda/landmark/scan.h"
#include "kernels/cuda/landmark/snapshot.cuh"
#include "kernels/cuda/landmark/update.cuh"

namespace kvg::cuda {

namespace {

// Rows of k and v.
struct TensorTokens {
  const LandmarkScanLaunch& p;

  template <int kDim>
  __device__ LaneVector<kDim> load(int row, int kv_head, bool value) const {
    const auto* data = static_cast<const __nv_bfloat16*>(value ? p.v : p.k);
    const int64_t at = (int64_t{row} * p.layout.shape.kv_heads + kv_head) * kDim;
    const auto words =
        reinterpret_cast<const LaneWords<uint16_t, kLaneWidth<kDim>>*>(data + at)[lane_id()];
    LaneVector<kDim> x;
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) {
      x[i] = __uint_as_float(static_cast<uint32_t>(words.word[i]) << 16);
    }
    return x;
  }
  __device__ float gate(int row) const { return p.gate[row]; }
  __device__ int64_t position(int row) const { return p.first_position + row; }
};

template <int kDim>
__global__ void __launch_bounds__(kLandmarkThreads, 1)
    landmark_scan_kernel(const __grid_constant__ LandmarkScanLaunch p) {
  extern __shared__ __align__(16) unsigned char shared[];
  LandmarkWork work(shared, p.layout, p.rules, p.layer);
  const TensorTokens tokens{p};
  LandmarkUpdate<kDim, TensorTokens> update(work, {&p.bank, p.eta, p.slow_dims, p.refresh_units},
                                            tokens);
  for (int i = 0; i < p.step_count; ++i) {
    const LandmarkScanStep step = p.steps[i];
    if (step.begin < step.end) update.evict(step.begin, step.end, step.single);
    if (step.snapshot < 0) continue;
    const DeviceLandmarkBank& snapshot = p.snapshots[step.snapshot];
    update.close(snapshot);
    copy_slots(work, work.bank().exact, snapshot.exact);
    copy_averages(work, work.bank().summary, snapshot.summary);
    __syncthreads();
  }
  update.close(work.bank());
  if (p.layout.shape.ctas > 1) cluster_sync();  // others may still read this CTA's memory
}

}  // namespace

cudaError_t launch(const LandmarkScanLaunch& p, cudaStream_t stream) {
  const ClusterLaunch shape{1, p.layout.shape.ctas, kLandmarkThreads, p.layout.bytes,
                            p.layout.shape.ctas > 1};
  switch (p.layout.shape.head_dim) {
    case 64:
      return launch_clusters(landmark_scan_kernel<64>, p, shape, stream);
    case 128:
      return launch_clusters(landmark_scan_kernel<128>, p, shape, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace kvg::cuda
