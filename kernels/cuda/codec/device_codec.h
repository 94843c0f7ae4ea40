#pragma once

#include "kernels/codec.h"

#include <cstdint>

namespace kvg::cuda {

// A codec as kernels see it: plain data, passed by value or in tables. Made from a host Codec by
// CudaContext::codec().
struct DeviceCodec {
  CodecKind kind = CodecKind::bf16;
  uint8_t bits = 0;                       // eden
  EdenScale scale = EdenScale::unbiased;  // eden
  Fp8Scale fp8_scale = Fp8Scale::unit;    // fp8
  Rotation rotation = Rotation::hdhd;     // eden
  bool rotates = false;
  bool scaled = false;  // one fp16 scale a vector
  int32_t head_dim = 0;
  int32_t code_bytes = 0;  // a vector
  uint64_t seed = 0;       // eden: of the rotations (kernels/reference/rotation.h)
  // haar: row-major [head_dim, head_dim] f32 of site (layer, kv_head, value), at
  // haar + ((layer * haar_heads + kv_head) * 2 + value) * head_dim^2; null otherwise
  const float* haar = nullptr;
  int32_t haar_heads = 0;
  // Only these coordinates are stored (ascending), the others are zero; null: all of them.
  const int32_t* band = nullptr;
  int32_t band_count = 0;
  // [head_dim] where a coordinate stands among the stored ones, -1: not stored; null without band.
  const int16_t* band_index = nullptr;
};

// Slots of one layer and one sequence (SlotStore), K and V.
//   codes [kv_heads, capacity, code_bytes], scales [kv_heads, capacity] fp16 or null
struct DeviceSlots {
  DeviceCodec k_codec;
  DeviceCodec v_codec;
  int64_t capacity = 0;
  uint8_t* k_codes = nullptr;
  uint8_t* v_codes = nullptr;
  uint16_t* k_scales = nullptr;
  uint16_t* v_scales = nullptr;
};

}  // namespace kvg::cuda
