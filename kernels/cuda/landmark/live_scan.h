#pragma once

#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/scan.h"

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// The scan of scan.h where is_live() says so: one cluster, with a CTA for each KV head, which has
// the head's slots of both banks in shared memory, and before them one that takes the decisions
// from what all of them send it, and sends them back. Of scan.layout only the shape counts. Compute
// capability 9.0; eight heads take a cluster of nine, more than is portable, which every such
// device has had room for.
struct LiveScanLaunch {
  LandmarkScanLaunch scan;
  LiveRules rules;
};

cudaError_t launch(const LiveScanLaunch& params, cudaStream_t stream);

// Whether landmark_scan() uses it for these evictions and snapshots.
bool live_scan_fits(const CudaContext& context, const LandmarkParams& params);

}  // namespace kvg::cuda
