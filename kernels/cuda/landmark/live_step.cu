#include "kernels/cuda/cluster_launch.cuh"
#include "kernels/cuda/landmark/live_step.h"
#include "kernels/cuda/landmark/live_step_exact.cuh"
#include "kernels/cuda/landmark/live_step_summary.cuh"

#include <algorithm>

namespace kvg::cuda {

namespace {

// For every cache a CTA of the summary bank, then one of the exact one.
template <int kDim, bool kPlain>
__global__ void __launch_bounds__(kStepThreads, kPlain ? 2 : 1)
    live_step_kernel(const __grid_constant__ LiveStepLaunch p) {
  extern __shared__ __align__(16) unsigned char shared[];
  const LandmarkShape& shape = p.step.layout.shape;
  const DeviceDecodePlan& plan = p.step.plan;
  const int64_t caches = plan.layers * plan.sequences;
  const bool summary = shape.summary > 0 && blockIdx.x < caches;
  const int64_t index = blockIdx.x % caches;
  const int64_t position = p.step.positions[index % plan.sequences];
  const int64_t begin = plan.evict_begin(position);
  const auto tokens = static_cast<int>(plan.first_recent(position) - begin);
  if (tokens <= 0) return;
  const RecentTokens source{p.step.caches[index], plan,
                            static_cast<int32_t>(index / plan.sequences), begin};
  if (summary) {
    const int64_t pinned = shape.exact > 0 ? p.rules.sinks - begin : 0;
    SummaryStep<kDim, kPlain>(p, source, *reinterpret_cast<SummaryStepShared<kDim>*>(shared))
        .run(static_cast<int>(max(pinned, int64_t{0})), tokens);
  } else {
    ExactStep<kDim, kPlain>(p, source, *reinterpret_cast<ExactStepShared<kDim>*>(shared))
        .run(tokens);
  }
}

template <int kDim>
cudaError_t launch_step(const LiveStepLaunch& p, cudaStream_t stream) {
  const LandmarkShape& shape = p.step.layout.shape;
  const int banks = (shape.exact > 0 ? 1 : 0) + (shape.summary > 0 ? 1 : 0);
  const auto caches = static_cast<int>(p.step.plan.layers * p.step.plan.sequences);
  if (caches == 0) return cudaSuccess;
  constexpr size_t kBytes =
      std::max(sizeof(SummaryStepShared<kDim>), sizeof(ExactStepShared<kDim>));
  return launch_clusters(p.plain ? live_step_kernel<kDim, true> : live_step_kernel<kDim, false>, p,
                         {banks * caches, 1, kStepThreads, static_cast<uint32_t>(kBytes), false},
                         stream);
}

}  // namespace

cudaError_t launch(const LiveStepLaunch& p, cudaStream_t stream) {
  switch (p.step.layout.shape.head_dim) {
    case 64:
      return launch_step<64>(p, stream);
    case 128:
      return launch_step<128>(p, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace kvg::cuda
