#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kvg {

// Element types of tensors in memory and in checkpoints.
enum class DType : uint8_t { f64, f32, f16, bf16, fp8_e4m3, i64, i32, u8 };

constexpr size_t dtype_size(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
      return 8;
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    case DType::fp8_e4m3:
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr std::string_view dtype_name(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "f64";
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::fp8_e4m3:
      return "fp8_e4m3";
    case DType::i64:
      return "i64";
    case DType::i32:
      return "i32";
    case DType::u8:
      return "u8";
  }
  return "?";
}

// bfloat16: the upper half of a float. Rounds to nearest even; NaN stays NaN.
constexpr float bf16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}
constexpr uint16_t float_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// A float as two words of 16 bits: the bf16 nearest to it, ties away from zero, and what is left,
//   bits(x) = (upper << 16) + rest (mod 2^32).
// Exact for every value; a NaN stays one, but is rounded to bf16 first.
struct FloatWords {
  uint16_t upper;
  uint16_t rest;  // two's complement; the lower half of bits(x)
};
constexpr FloatWords split_float(float value) {
  uint32_t bits = std::bit_cast<uint32_t>(value);
  // What is added to upper must not carry a NaN to an infinity or to zero.
  if ((bits & 0x7fffffffu) > 0x7f800000u) bits = (bits | 0x400000u) & 0xffff0000u;
  return {static_cast<uint16_t>((bits + 0x8000u) >> 16), static_cast<uint16_t>(bits)};
}
constexpr float join_float(FloatWords words) {
  return std::bit_cast<float>((static_cast<uint32_t>(words.upper) << 16) +
                              static_cast<uint32_t>(static_cast<int16_t>(words.rest)));
}

// IEEE 754 binary16. Rounds to nearest even; overflow gives infinity.
float f16_to_float(uint16_t bits);
uint16_t float_to_f16(float value);

// FP8 E4M3 ("fn": no infinities, one NaN pattern a sign, largest finite value 448). Rounds to
// nearest even and saturates to +-448, as the hardware conversion with .satfinite does.
inline constexpr float kE4m3Max = 448.0f;
float e4m3_to_float(uint8_t bits);
uint8_t float_to_e4m3(float value);

}  // namespace kvg
