#pragma once

#include "kernels/cuda/attention/prefill_plan.h"

#include <cstdint>
#include <vector>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// Slots that a kernel cannot copy as they are, decoded to bf16 before it runs: slots
// (first_slot + i) mod capacity, i < count, of codes [kv_heads, capacity, code_bytes] to
// [kv_heads, count, head_dim] bf16 (16-byte aligned).
struct PrefillStage {
  const uint8_t* codes = nullptr;
  uint8_t* to = nullptr;
  int32_t codec = 0;  // row of PrefillLaunch::codecs
  int32_t capacity = 0;
  int32_t first_slot = 0;
  int32_t count = 0;
};

// What the plan's groups need of it, or `all` of them; what several share is there once. `to`
// counts from 0.
std::vector<PrefillStage> plan_stages(const PrefillPlan& plan, int kv_heads, int head_dim,
                                      bool all);
int64_t staged_bytes(const std::vector<PrefillStage>& stages, int kv_heads, int head_dim);
// Moves the stages to `memory`, points their groups there and finds the slots' rows anew. False:
// some slots are too far from the others to be rows of one range; staging all of them helps.
bool use_stages(std::vector<PrefillStage>* stages, uint8_t* memory, int kv_heads, int head_dim,
                PrefillPlan* plan);

// Tables in device memory; codecs are bf16 or f32, unrotated and unscaled, a band perhaps.
struct PrefillStageLaunch {
  const PrefillStage* stages = nullptr;
  const DeviceCodec* codecs = nullptr;
  int32_t count = 0;
  int32_t kv_heads = 0;
  int32_t head_dim = 0;
};
cudaError_t launch(const PrefillStageLaunch& params, cudaStream_t stream);

}  // namespace kvg::cuda
