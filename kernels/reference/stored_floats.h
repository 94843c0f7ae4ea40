#pragma once

#include "kernels/dtype.h"

#include <cstdint>
#include <cstring>

namespace kvg {

// How floats are stored. Codes may lie at any address, hence memcpy.

// Coordinate i of those that are stored as CodecKind::bf16.
inline void put_bf16(float value, int64_t i, uint8_t* codes) {
  const uint16_t word = float_to_bf16(value);
  std::memcpy(codes + 2 * i, &word, 2);
}
inline float get_bf16(const uint8_t* codes, int64_t i) {
  uint16_t word = 0;
  std::memcpy(&word, codes + 2 * i, 2);
  return bf16_to_float(word);
}

// Coordinate i of `count` that are stored as CodecKind::f32.
inline void put_f32(float value, int64_t i, int64_t count, uint8_t* codes) {
  const FloatWords words = split_float(value);
  std::memcpy(codes + 2 * i, &words.upper, 2);
  std::memcpy(codes + 2 * (count + i), &words.rest, 2);
}
inline float get_f32(const uint8_t* codes, int64_t i, int64_t count) {
  FloatWords words{};
  std::memcpy(&words.upper, codes + 2 * i, 2);
  std::memcpy(&words.rest, codes + 2 * (count + i), 2);
  return join_float(words);
}

}  // namespace kvg
