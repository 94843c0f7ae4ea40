#pragma once

#include "kernels/dtype.h"

#include <cmath>
#include <cstdint>

namespace kvg {

// Scales of vectors are stored in fp16: non-negative, saturated to the largest finite value. Their
// bit patterns are ordered like the values.
inline constexpr uint16_t kF16Max = 0x7bff;  // 65504
inline constexpr uint16_t kF16NaN = 0x7e00;

// The largest code of int8, whose scale is absmax over it.
inline constexpr float kInt8Max = 127.0f;

// The nearest fp16; NaN stays NaN.
inline uint16_t f16_scale(double scale) {
  if (std::isnan(scale)) return kF16NaN;
  const uint16_t bits = float_to_f16(static_cast<float>(scale));
  return bits > kF16Max ? kF16Max : bits;
}

// The smallest fp16 that is not below `scale`; NaN stays NaN.
inline uint16_t f16_scale_above(double scale) {
  const uint16_t bits = f16_scale(scale);
  const bool below = static_cast<double>(f16_to_float(bits)) < scale;
  return below && bits < kF16Max ? static_cast<uint16_t>(bits + 1) : bits;
}

}  // namespace kvg
