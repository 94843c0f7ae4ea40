#include "kernels/cuda/landmark/cluster_launch.cuh"
#include "kernels/cuda/landmark/live_scan.h"
#include "kernels/cuda/landmark/live_scan_exact.cuh"
#include "kernels/cuda/landmark/live_scan_summary.cuh"

#include <algorithm>

namespace kvg::cuda {

namespace {

// The clusters of the summary bank come first, then those of the exact one.
template <int kDim>
__global__ void __launch_bounds__(kLiveThreads, 1)
    live_scan_kernel(const __grid_constant__ LiveScanLaunch p) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  extern __shared__ __align__(16) unsigned char shared[];
  const LandmarkShape& shape = p.scan.layout.shape;
  if (shape.summary > 0 && blockIdx.x < static_cast<unsigned>(shape.kv_heads)) {
    SummaryScan<kDim>(p, *reinterpret_cast<SummaryScanShared<kDim>*>(shared)).run();
  } else {
    ExactScan<kDim>(p, *reinterpret_cast<ExactScanShared<kDim>*>(shared)).run();
  }
#endif
}

template <int kDim>
cudaError_t launch_scan(const LiveScanLaunch& p, cudaStream_t stream) {
  const LandmarkShape& shape = p.scan.layout.shape;
  const int banks = (shape.exact > 0 ? 1 : 0) + (shape.summary > 0 ? 1 : 0);
  constexpr size_t kBytes =
      std::max(sizeof(SummaryScanShared<kDim>), sizeof(ExactScanShared<kDim>));
  return launch_clusters(live_scan_kernel<kDim>, p,
                         {banks, shape.kv_heads, kLiveThreads, static_cast<uint32_t>(kBytes), true},
                         stream);
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
