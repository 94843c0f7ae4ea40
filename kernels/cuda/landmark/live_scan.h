#pragma once

#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/scan.h"

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// The scan of scan.h where is_live() says so: a cluster for each bank, with a CTA for each KV head,
// which has the head's slots in shared memory. One warp of the first CTA takes the decisions from
// what all CTAs send it, and sends them back. Of scan.layout only the shape counts. Compute
// capability 9.0.
struct LiveScanLaunch {
  LandmarkScanLaunch scan;
  LiveRules rules;
};

cudaError_t launch(const LiveScanLaunch& params, cudaStream_t stream);

// Whether landmark_scan() uses it for these evictions and snapshots.
bool live_scan_fits(const CudaContext& context, const LandmarkParams& params);

}  // namespace kvg::cuda
