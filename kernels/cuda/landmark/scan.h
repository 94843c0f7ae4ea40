#pragma once

#include "kernels/cuda/context.h"
#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/layout.h"
#include "kernels/landmark.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// The bank update of a prefill call (kernels/landmark.h), one sequence and one layer: all evictions
// and snapshots in one launch. Sequential by nature; a cluster of CTAs shares the KV heads.
struct LandmarkScanStep {
  int32_t begin = 0, end = 0;  // rows
  bool single = false;
  int32_t snapshot = -1;  // row of `snapshots`, -1: none
};

struct LandmarkScanLaunch {
  const void* k = nullptr;  // [tokens, kv_heads, head_dim] bf16
  const void* v = nullptr;  // [tokens, kv_heads, head_dim] bf16
  // Elements from one token to the next, and from one head to the next, in k and in v; launch()
  // below takes them packed.
  int64_t token_stride = 0;
  int64_t head_stride = 0;
  const float* gate = nullptr;  // [tokens]
  int64_t first_position = 0;
  int32_t layer = 0;
  DeviceLandmarkBank bank;
  LandmarkRules rules;
  bool refresh_units = false;
  const LandmarkScanStep* steps = nullptr;  // [step_count]
  const DeviceLandmarkBank* snapshots = nullptr;
  const int32_t* slow_dims = nullptr;  // [layout.shape.band]
  int32_t step_count = 0;
  int32_t tokens = 0;          // of all steps, for the account
  int64_t snapshot_bytes = 0;  // of all snapshots
  float eta[kLandmarkHeads] = {};
  LandmarkLayout layout;
};

cudaError_t launch(const LandmarkScanLaunch& params, cudaStream_t stream);

// Tokens once, the banks once in and once out, and every snapshot.
int64_t bytes(const LandmarkScanLaunch& params);
// Products of every token with every slot of both banks.
int64_t flops(const LandmarkScanLaunch& params);

// Checks, brings the tables to the device, launches. Throws Error for banks or evictions that do
// not fit into shared memory.
void landmark_scan(CudaContext& context, const LandmarkParams& params);

// The layout for a device; throws Error when nothing fits.
LandmarkLayout fitting_layout(const CudaContext& context, const LandmarkShape& shape);
// What moves when a bank is read or written as a whole.
int64_t bank_bytes(const DeviceLandmarkBank& bank, int kv_heads);

}  // namespace kvg::cuda
