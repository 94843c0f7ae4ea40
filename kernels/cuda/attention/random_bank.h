#pragma once

#include "kernels/cuda/decode_state.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// What leaves the windows at this step goes to the random banks (random_bank_slot), of all layers
// and sequences at once: as stored bytes where both have the same codec, decoded and encoded again
// otherwise. A warp moves K or V of one KV head, one token after the other, because two of them may
// draw the same slot.
struct RandomEvictLaunch {
  const DeviceDecodeCache* caches = nullptr;  // [layers, sequences]
  DeviceDecodePlan plan;
  const int64_t* positions = nullptr;  // [sequences]
};

cudaError_t launch(const RandomEvictLaunch& params, cudaStream_t stream);

// Of a step on average, one token a sequence, read from the window and written to the bank;
// `recent_bytes`, `bank_bytes`: of one slot of one KV head, K and V with scales.
constexpr int64_t bytes(const RandomEvictLaunch& p, int64_t recent_bytes, int64_t bank_bytes) {
  return p.plan.layers * p.plan.sequences * p.plan.kv_heads * (recent_bytes + bank_bytes);
}

void random_evict(CudaContext& context, CudaDecodeState& state, const Tensor& positions);

}  // namespace kvg::cuda
