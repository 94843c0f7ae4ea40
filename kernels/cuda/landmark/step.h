#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/layout.h"
#include "kernels/tensor.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// The bank update of a decode step: for every layer and sequence the tokens that leave the window
// at the sequence's position (kernels/decode.h), read from the recent slots as `load` would; a
// cluster of CTAs each. Returns at once where nothing leaves.
struct LandmarkStepLaunch {
  DeviceDecodePlan plan;
  const DeviceDecodeCache* caches = nullptr;  // [layers, sequences]
  const int64_t* positions = nullptr;         // [sequences]
  LandmarkLayout layout;
};

cudaError_t launch(const LandmarkStepLaunch& params, cudaStream_t stream);

// The masks, gates and unit vectors of the banks, `tokens` of every cache once, and one slot of
// each bank for each of them.
int64_t bytes(const LandmarkStepLaunch& params, const DecodeCache& cache, int64_t tokens);
// Products of every token with every slot of both banks.
int64_t flops(const LandmarkStepLaunch& params, int64_t tokens);

// One launch for all layers and sequences; positions [sequences] i64. May be recorded: it declares
// plan.block tokens a cache, which is the most that leave at a step. Throws Error for banks that do
// not fit into shared memory.
void landmark_evict(CudaContext& context, CudaDecodeState& state, const Tensor& positions);

}  // namespace kvg::cuda
