#include "kernels/cuda/cluster_launch.cuh"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/landmark/live_scan_exact.cuh"
#include "kernels/cuda/landmark/live_scan_summary.cuh"

#include <algorithm>

namespace kvg::cuda {

namespace {

inline constexpr int kLiveThreads = 512;  // with 128 registers each
static_assert(kLiveThreads == 32 * 2 * kLiveWorkers);

struct DeciderShared {
  SummaryDeciderShared summary;
  ExactDeciderShared exact;
};

template <int kDim>
struct HeadShared {
  SummaryHeadShared<kDim> summary;
  ExactHeadShared<kDim> exact;
};

// Warps w, w + 4, w + 8, ... share a scheduler and its cache of instructions, so each kind of work
// has schedulers of its own. The warp that routes, for which all others wait, is beside the one
// that has least to do.
template <int kDim>
__device__ void decide(const LiveScanLaunch& p, DeciderShared& shared, HeadShared<kDim>& heads) {
  const LandmarkShape& shape = p.scan.layout.shape;
  const int scheduler = static_cast<int>(threadIdx.x) / 32 % 4;
  const int warp = static_cast<int>(threadIdx.x) / 32 / 4;  // of the scheduler
  static_assert(kLiveFollowers == 8 && kMatchWarps == 4 && kLiveThreads == 32 * 16);
  if (scheduler == 3) {
    if (shape.exact == 0) return;
    ExactDecider(p, shared.exact, heads.exact.link).run(32 * warp + lane_id());
    return;
  }
  if (shape.summary == 0) return;
  SummaryDecider summary(p, shared.summary, heads.summary.link);
  if (scheduler > 0) {
    summary.follow(2 * warp + scheduler - 1);
  } else if (warp == 0) {
    summary.route();
  } else if (warp == 1) {
    summary.keep_counts();
  }
}

template <int kDim>
__device__ void attend_to_head(const LiveScanLaunch& p, HeadShared<kDim>& shared,
                               DeciderShared& decider) {
  const LandmarkShape& shape = p.scan.layout.shape;
  const int head = live_head(cluster_rank());
  constexpr int kThreads = 32 * kLiveWorkers;
  static_assert(kLiveThreads == 2 * kThreads);
  const auto thread = static_cast<int>(threadIdx.x % kThreads);
  if (threadIdx.x < kThreads) {
    if (shape.summary == 0) return;
    SummaryHead<kDim>(p, shared.summary, decider.summary.link, head, thread, 1).run();
  } else {
    if (shape.exact == 0) return;
    ExactHead<kDim>(p, shared.exact, decider.exact.link, head, thread, 2).run();
  }
}

// The first CTA decides, each of the others has a head.
template <int kDim>
__global__ void __launch_bounds__(kLiveThreads, 1)
    live_scan_kernel(const __grid_constant__ LiveScanLaunch p) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) unsigned char shared[];
  auto& decider = *reinterpret_cast<DeciderShared*>(shared);
  auto& head = *reinterpret_cast<HeadShared<kDim>*>(shared);
  const bool decides = cluster_rank() == 0;
  if (threadIdx.x == 0) {
    if (decides) {
      decider.summary.open();
      decider.exact.link.open(1);
    } else {
      head.summary.link.open();
      head.exact.link.open();
    }
  }
  cluster_sync();
  if (decides) {
    decide<kDim>(p, decider, head);
  } else {
    attend_to_head<kDim>(p, head, decider);
  }
  cluster_sync();  // others may still send to this CTA
#endif
}

template <int kDim>
cudaError_t launch_scan(const LiveScanLaunch& p, cudaStream_t stream) {
  constexpr size_t kBytes = std::max(sizeof(DeciderShared), sizeof(HeadShared<kDim>));
  static_assert(kBytes <= 227 * 1024);
  const int ctas = p.scan.layout.shape.kv_heads + 1;
  return launch_clusters(live_scan_kernel<kDim>, p,
                         {1, ctas, kLiveThreads, static_cast<uint32_t>(kBytes), true}, stream);
}

}  // namespace

cudaError_t launch(const LiveScanLaunch& p, cudaStream_t stream) {
  switch (p.scan.layout.shape.head_dim) {
    case 64:
      return launch_scan<64>(p, stream);
    case 128:
      return launch_scan<128>(p, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace kvg::cuda
