#pragma once

#include "kernels/cuda/codec/device_codec.h"

#include <cstdint>

#include <cuda_runtime_api.h>

// Rows of K and V into slots and back, and slots as stored bytes from one store to another: one
// launch for K and V of all heads (kernels/ops.h: StoreParams, LoadParams, CopySlotsParams).
// Counts are at most the capacity, first slots below it. head_dim is 64 or 128.
namespace kvg::cuda {

struct StoreLaunch {
  const void* k = nullptr;  // [rows, kv_heads, head_dim] bf16
  const void* v = nullptr;  // [rows, kv_heads, head_dim] bf16
  DeviceSlots slots;
  int64_t first_slot = 0;
  int64_t rows = 0;
  int32_t kv_heads = 0;
  int32_t layer = 0;
};

struct LoadLaunch {
  void* k = nullptr;  // [rows, kv_heads, head_dim] bf16
  void* v = nullptr;  // [rows, kv_heads, head_dim] bf16
  DeviceSlots slots;
  int64_t first_slot = 0;
  int64_t rows = 0;
  int32_t kv_heads = 0;
  int32_t layer = 0;
};

struct CopySlotsLaunch {
  DeviceSlots from;
  DeviceSlots to;
  int64_t from_slot = 0;
  int64_t to_slot = 0;
  int64_t count = 0;
  int32_t kv_heads = 0;
};

cudaError_t launch(const StoreLaunch& params, cudaStream_t stream);
cudaError_t launch(const LoadLaunch& params, cudaStream_t stream);
cudaError_t launch(const CopySlotsLaunch& params, cudaStream_t stream);

// What one vector occupies.
constexpr int64_t vector_bytes(const DeviceCodec& codec) {
  return codec.code_bytes + (codec.scaled ? 2 : 0);
}
// Of one rotation; zero for codecs without. Rounding and packing are not counted.
constexpr int64_t rotation_flops(const DeviceCodec& codec) {
  if (!codec.rotates) return 0;
  const int64_t d = codec.head_dim;
  if (codec.rotation == Rotation::haar) return 2 * d * d;
  const int64_t block = d * (d == 64 ? 6 : 7);  // d log2(d) additions
  return codec.rotation == Rotation::hdhd ? 2 * block : block;
}
constexpr int64_t slot_bytes(const DeviceSlots& slots) {
  return vector_bytes(slots.k_codec) + vector_bytes(slots.v_codec);
}

inline int64_t bytes(const StoreLaunch& p) {
  return p.rows * p.kv_heads * (4 * p.slots.k_codec.head_dim + slot_bytes(p.slots));
}
inline int64_t flops(const StoreLaunch& p) {
  return p.rows * p.kv_heads * (rotation_flops(p.slots.k_codec) + rotation_flops(p.slots.v_codec));
}
inline int64_t bytes(const LoadLaunch& p) {
  return p.rows * p.kv_heads * (4 * p.slots.k_codec.head_dim + slot_bytes(p.slots));
}
inline int64_t flops(const LoadLaunch& p) {
  return p.rows * p.kv_heads * (rotation_flops(p.slots.k_codec) + rotation_flops(p.slots.v_codec));
}
inline int64_t bytes(const CopySlotsLaunch& p) {
  return 2 * p.count * p.kv_heads * slot_bytes(p.from);
}
inline int64_t flops(const CopySlotsLaunch&) { return 0; }

}  // namespace kvg::cuda
