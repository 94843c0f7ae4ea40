#include "kernels/dtype.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kvg {

float f16_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = bits >> 10 & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1.0p-24f;
    return sign ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t float_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds to infinity
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 lets the FPU do the rounding
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | rounded >> 13);
}

namespace {

constexpr std::array<float, 256> make_e4m3_table() {
  std::array<float, 256> table{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    const unsigned exponent = bits >> 3 & 15u;
    const unsigned mantissa = bits & 7u;
    float value = 0;
    if (exponent == 15 && mantissa == 7) {
      value = std::bit_cast<float>(0x7fc00000u);
    } else if (exponent == 0) {
      value = static_cast<float>(mantissa) * 0x1.0p-9f;
    } else {
      value = (1.0f + static_cast<float>(mantissa) * 0.125f) *
              std::bit_cast<float>((exponent + 120u) << 23);
    }
    table[bits] = bits & 0x80u ? -value : value;
  }
  return table;
}

constexpr std::array<float, 256> kE4m3Table = make_e4m3_table();

}  // namespace

float e4m3_to_float(uint8_t bits) { return kE4m3Table[bits]; }

uint8_t float_to_e4m3(float value) {
  const auto sign = static_cast<uint8_t>(std::bit_cast<uint32_t>(value) >> 24 & 0x80u);
  if (std::isnan(value)) return sign | 0x7fu;
  const float magnitude = std::min(std::fabs(value), kE4m3Max);
  if (magnitude < 0x1.0p-6f) {  // subnormal: one unit is 2^-9, the last place of numbers near 2^14
    const float shifted = magnitude + 0x1.0p14f;
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x46800000u));
  }
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude);
  const uint32_t rounded = bits + 0x7ffffu + (bits >> 20 & 1u);  // ties to even; may carry upwards
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

}  // namespace kvg
