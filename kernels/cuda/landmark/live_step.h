#pragma once

#include "kernels/cuda/landmark/live_rules.h"
#include "kernels/cuda/landmark/step.h"

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// The decode step of step.h where is_live() says so: for every layer and sequence a CTA for each
// bank, with all KV heads. It reads the slots once, where they are, and writes those that change.
struct LiveStepLaunch {
  LandmarkStepLaunch step;
  LiveRules rules;
  bool plain = false;  // the recent slots are bf16
};

cudaError_t launch(const LiveStepLaunch& params, cudaStream_t stream);

}  // namespace kvg::cuda
