#pragma once

#include "kernels/cuda/codec/device_codec.h"
#include "kernels/cuda/context.h"
#include "kernels/decode.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace kvg::cuda {

enum class DecodeGroup : uint8_t;  // kernels/cuda/attention/decode_slots.h
struct DecodeAttentionLaunch;

// A LandmarkBank as kernels see it.
struct DeviceLandmarkBank {
  DeviceSlots exact;
  DeviceSlots summary;
  uint8_t* exact_valid = nullptr;
  uint8_t* summary_valid = nullptr;
  float* log_weight = nullptr;
  float* counts = nullptr;
  int64_t* stamps = nullptr;
  void* exact_unit = nullptr;
  void* summary_unit = nullptr;
};

// A DecodeCache as kernels see it.
struct DeviceDecodeCache {
  DeviceSlots recent;
  DeviceSlots sinks;
  DeviceLandmarkBank landmark;
  float* gates = nullptr;
  const float* eta = nullptr;  // [kv_heads]
  DeviceSlots random;
};

// What DecodePlan says, for kernels.
struct DeviceDecodePlan {
  int64_t sequences = 0, layers = 0, max_tokens = 0;
  int32_t heads = 0, kv_heads = 0, head_dim = 0, streams = 1, frames = 1;
  int64_t sinks = 0, window = 0, block = 1;
  DecodeBank bank = DecodeBank::none;
  bool single = false;
  LandmarkRules rules;
  const int32_t* slow_dims = nullptr;  // on the device
  int32_t slow_count = 0;
  uint64_t seed = 0;

  // As in DecodePlan.
  constexpr int64_t first_recent(int64_t position) const {
    if (window == 0) return sinks;
    const int64_t first = position / block * block - (window - block);
    return first > sinks ? first : sinks;
  }
  constexpr int64_t evict_begin(int64_t position) const {
    return position == 0 ? sinks : first_recent(position - 1);
  }
};

// The batch's tables on the device, and the workspace of its attention: nothing is allocated in a
// step.
class CudaDecodeState : public DecodeState {
 public:
  CudaDecodeState(CudaContext& context, DecodePlan plan, std::vector<DecodeCache> caches);
  ~CudaDecodeState() override;

  const DeviceDecodePlan& device_plan() const { return device_plan_; }
  const DeviceDecodeCache* device_caches() const;  // [layers][sequences], on the device
  // Partial results of split attention; sized at construction by the kernel's own rule.
  void* attention_workspace() const;
  // What attention launches have in common (kernels/cuda/attention/decode.h).
  const DecodeAttentionLaunch& attention_launch() const;
  // Of one slot of one KV head, K and V with scales.
  int64_t slot_bytes(DecodeGroup group) const;
  // What attention reads of one, by DecodeGroup.
  std::span<const int64_t> read_bytes() const;

 private:
  void upload_caches(CudaContext& context);
  void prepare_attention(CudaContext& context);

  DeviceDecodePlan device_plan_;
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// The two halves of a step (kernels/decode.h).
void decode_evict(CudaContext& context, CudaDecodeState& state, const Tensor& positions);
void decode_attention(CudaContext& context, const DecodeAttentionParams& params);

}  // namespace kvg::cuda
