#pragma once

#include "kernels/cuda/codec/tile.cuh"
#include "kernels/cuda/landmark/work.cuh"

#include <cstdint>

namespace kvg::cuda {

// Copies with the widest words that places and length allow, by all threads.
template <typename Word>
__device__ inline bool copy_words(const uint8_t* from, uint8_t* to, int64_t bytes) {
  const auto all = reinterpret_cast<uintptr_t>(from) | reinterpret_cast<uintptr_t>(to) |
                   static_cast<uintptr_t>(bytes);
  if (all % sizeof(Word) != 0) return false;
  const auto* source = reinterpret_cast<const Word*>(from);
  auto* target = reinterpret_cast<Word*>(to);
  const int64_t count = bytes / static_cast<int64_t>(sizeof(Word));
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < count; i += kLandmarkThreads) target[i] = source[i];
  return true;
}

// The CTA's heads of codes or scales [kv_heads, capacity, width].
__device__ inline void copy_heads(const LandmarkWork& w, const void* from, void* to,
                                  int64_t capacity, int64_t width) {
  if (from == nullptr || to == nullptr) return;
  const int64_t begin = w.first_head * capacity * width;
  const int64_t bytes = w.heads * capacity * width;
  const auto* source = static_cast<const uint8_t*>(from) + begin;
  auto* target = static_cast<uint8_t*>(to) + begin;
  if (copy_words<uint4>(source, target, bytes)) return;
  if (copy_words<uint32_t>(source, target, bytes)) return;
  copy_words<uint16_t>(source, target, bytes) || copy_words<uint8_t>(source, target, bytes);
}

// The same from bf16 or f32, a band perhaps, to bf16 of whole vectors.
__device__ inline void round_heads(const LandmarkWork& w, const DeviceCodec& codec,
                                   const uint8_t* from, uint8_t* to, int64_t capacity) {
  const int64_t chunks = w.layout.shape.head_dim / 8;
  const int64_t first = w.first_head * capacity;
  auto* target = reinterpret_cast<uint4*>(to) + first * chunks;
  for (int64_t i = threadIdx.x; i < w.heads * capacity * chunks; i += kLandmarkThreads) {
    target[i] = unrotated_chunk(codec, from + (first + i / chunks) * codec.code_bytes,
                                static_cast<int>(i % chunks));
  }
}

// Of averages.
__device__ inline void copy_or_round(const LandmarkWork& w, const DeviceCodec& codec,
                                     const uint8_t* from, const DeviceCodec& to_codec, uint8_t* to,
                                     int64_t capacity) {
  if (codec.kind == to_codec.kind && codec.code_bytes == to_codec.code_bytes) {
    copy_heads(w, from, to, capacity, codec.code_bytes);
  } else if (from != nullptr && to != nullptr) {
    round_heads(w, codec, from, to, capacity);
  }
}
__device__ inline void copy_averages(const LandmarkWork& w, const DeviceSlots& from,
                                     const DeviceSlots& to) {
  copy_or_round(w, from.k_codec, from.k_codes, to.k_codec, to.k_codes, from.capacity);
  copy_or_round(w, from.v_codec, from.v_codes, to.v_codec, to.v_codes, from.capacity);
}

__device__ inline void copy_slots(const LandmarkWork& w, const DeviceSlots& from,
                                  const DeviceSlots& to) {
  copy_heads(w, from.k_codes, to.k_codes, from.capacity, from.k_codec.code_bytes);
  copy_heads(w, from.v_codes, to.v_codes, from.capacity, from.v_codec.code_bytes);
  copy_heads(w, from.k_scales, to.k_scales, from.capacity, 2);
  copy_heads(w, from.v_scales, to.v_scales, from.capacity, 2);
}

}  // namespace kvg::cuda
