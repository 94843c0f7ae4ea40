#pragma once

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

__device__ inline void copy_slots(const LandmarkWork& w, const DeviceSlots& from,
                                  const DeviceSlots& to) {
  copy_heads(w, from.k_codes, to.k_codes, from.capacity, from.k_codec.code_bytes);
  copy_heads(w, from.v_codes, to.v_codes, from.capacity, from.v_codec.code_bytes);
  copy_heads(w, from.k_scales, to.k_scales, from.capacity, 2);
  copy_heads(w, from.v_scales, to.v_scales, from.capacity, 2);
}

}  // namespace kvg::cuda
