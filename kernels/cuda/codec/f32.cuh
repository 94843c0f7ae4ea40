#pragma once

#include "kernels/dtype.h"

#include <cstdint>

// Coordinates of vectors that are stored as CodecKind::f32: all upper words, then all rests.
namespace kvg::cuda {

// kWidth words of one type, moved by one access.
template <typename Word, int kWidth>
struct alignas(sizeof(Word) * kWidth) LaneWords {
  Word word[kWidth];
};

// Coordinate i of `count`.
__device__ inline float load_f32(const uint8_t* codes, int i, int count) {
  const auto* words = reinterpret_cast<const uint16_t*>(codes);
  return join_float({words[i], words[count + i]});
}
__device__ inline void store_f32(float x, int i, int count, uint8_t* codes) {
  auto* words = reinterpret_cast<uint16_t*>(codes);
  const FloatWords both = split_float(x);
  words[i] = both.upper;
  words[count + i] = both.rest;
}

// Coordinates [kWidth i, kWidth (i + 1)) of `count`, a multiple of kWidth, by two accesses.
template <int kWidth>
__device__ inline LaneWords<float, kWidth> load_f32(const uint8_t* codes, int i, int count) {
  const auto* words = reinterpret_cast<const LaneWords<uint16_t, kWidth>*>(codes);
  const LaneWords<uint16_t, kWidth> upper = words[i];
  const LaneWords<uint16_t, kWidth> rest = words[count / kWidth + i];
  LaneWords<float, kWidth> x;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) x.word[j] = join_float({upper.word[j], rest.word[j]});
  return x;
}
template <int kWidth>
__device__ inline void store_f32(const LaneWords<float, kWidth>& x, int i, int count,
                                 uint8_t* codes) {
  LaneWords<uint16_t, kWidth> upper, rest;
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    const FloatWords both = split_float(x.word[j]);
    upper.word[j] = both.upper;
    rest.word[j] = both.rest;
  }
  auto* words = reinterpret_cast<LaneWords<uint16_t, kWidth>*>(codes);
  words[i] = upper;
  words[count / kWidth + i] = rest;
}

}  // namespace kvg::cuda
