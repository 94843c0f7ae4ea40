#include "kernels/dtype.h"

#include "base/random.h"

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A small float format seen from outside: `codes` non-negative finite patterns 0..codes-1 in
// ascending order of value, the sign in the bit `sign`.
struct Format {
  std::string name;
  uint32_t codes;
  uint32_t sign;
  std::function<float(uint32_t)> widen;
  std::function<uint32_t(float)> narrow;
  // Value of a pattern, from exponent and mantissa: the definition of the format.
  int mantissa_bits;
  int bias;

  double defined_value(uint32_t code) const {
    const auto mantissa = static_cast<double>(code & ((1u << mantissa_bits) - 1));
    const int exponent = static_cast<int>(code >> mantissa_bits);
    const double unit = std::ldexp(1.0, -mantissa_bits);
    return exponent == 0 ? std::ldexp(mantissa * unit, 1 - bias)
                         : std::ldexp(1 + mantissa * unit, exponent - bias);
  }
};

std::vector<Format> formats() {
  return {
      {"f16", 0x7c00, 0x8000, [](uint32_t c) { return f16_to_float(static_cast<uint16_t>(c)); },
       [](float x) { return uint32_t{float_to_f16(x)}; }, 10, 15},
      {"bf16", 0x7f80, 0x8000, [](uint32_t c) { return bf16_to_float(static_cast<uint16_t>(c)); },
       [](float x) { return uint32_t{float_to_bf16(x)}; }, 7, 127},
      {"e4m3", 0x7f, 0x80, [](uint32_t c) { return e4m3_to_float(static_cast<uint8_t>(c)); },
       [](float x) { return uint32_t{float_to_e4m3(x)}; }, 3, 7}};
}

TEST(DType, EveryFinitePatternHasItsDefinedValueAndComesBack) {
  for (const Format& format : formats()) {
    for (uint32_t code = 0; code < format.codes; ++code) {
      const float value = format.widen(code);
      ASSERT_EQ(value, format.defined_value(code)) << format.name << " " << code;
      ASSERT_EQ(format.narrow(value), code) << format.name;
      ASSERT_EQ(format.widen(code | format.sign), -value) << format.name;
      ASSERT_EQ(format.narrow(-value), code | format.sign) << format.name << " sign of " << value;
    }
  }
}

// All rounding decisions are made between two neighbours: on the midpoint the even one wins, on
// either side of it the nearer one.
TEST(DType, RoundsToNearestEvenAroundEveryMidpoint) {
  for (const Format& format : formats()) {
    for (uint32_t code = 0; code + 1 < format.codes; ++code) {
      const double exact = (format.defined_value(code) + format.defined_value(code + 1)) / 2;
      const auto midpoint = static_cast<float>(exact);
      ASSERT_EQ(midpoint, exact);
      const uint32_t even = code % 2 == 0 ? code : code + 1;
      ASSERT_EQ(format.narrow(midpoint), even) << format.name << " " << code;
      ASSERT_EQ(format.narrow(-midpoint), even | format.sign) << format.name << " " << code;
      ASSERT_EQ(format.narrow(std::nextafter(midpoint, 0.0f)), code) << format.name;
      ASSERT_EQ(format.narrow(std::nextafter(midpoint, kInfinity)), code + 1) << format.name;
    }
  }
}

// Any bit pattern of a float lands on a neighbour that no other value of the format beats.
TEST(DType, RandomFloatsLandOnTheNearestValue) {
  Random random(7);
  for (const Format& format : formats()) {
    const double largest = format.defined_value(format.codes - 1);
    for (int i = 0; i < 200000; ++i) {
      const double x =
          std::ldexp(0.5 + random.uniform() / 2, static_cast<int>(random.below(60)) - 40);
      const auto value = static_cast<float>(x);
      if (value > largest) continue;
      const uint32_t code = format.narrow(value);
      ASSERT_LT(code, format.codes);
      const double distance = std::fabs(format.defined_value(code) - value);
      if (code > 0) {
        ASSERT_LE(distance, std::fabs(format.defined_value(code - 1) - value));
      }
      if (code + 1 < format.codes) {
        ASSERT_LE(distance, std::fabs(format.defined_value(code + 1) - value));
      }
    }
  }
}

// All upper halves, with lower ones that round down, up, and neither.
TEST(DType, FloatWordsAreTheFloat) {
  Random random(8);
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const auto any = static_cast<uint32_t>(random.below(0x10000));
    for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu, any}) {
      const uint32_t bits = half << 16 | low;
      const auto value = std::bit_cast<float>(bits);
      const FloatWords words = split_float(value);
      if (std::isnan(value)) {
        ASSERT_EQ(words.upper, float_to_bf16(value)) << bits;
        ASSERT_EQ(words.rest, 0) << bits;
        ASSERT_EQ(std::bit_cast<uint32_t>(join_float(words)), uint32_t{words.upper} << 16) << bits;
        continue;
      }
      ASSERT_EQ(std::bit_cast<uint32_t>(join_float(words)), bits);
      ASSERT_EQ(words.upper, low == 0x8000 ? half + 1 : float_to_bf16(value)) << bits;
    }
  }
  EXPECT_EQ(split_float(kInfinity).upper, 0x7f80);
  EXPECT_EQ(split_float(std::numeric_limits<float>::max()).upper, 0x7f80);
  EXPECT_EQ(split_float(-0.0f).upper, 0x8000);
}

TEST(DType, F16AndBf16OverflowToInfinity) {
  EXPECT_EQ(float_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);  // 65504, the largest
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_f16(-1e30f), 0xfc00);
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(float_to_bf16(-kInfinity), 0xff80);
  EXPECT_EQ(f16_to_float(0x7c00), kInfinity);
  EXPECT_EQ(f16_to_float(0xfc00), -kInfinity);
  EXPECT_EQ(bf16_to_float(0xff80), -kInfinity);
}

TEST(DType, E4m3SaturatesInsteadOfOverflowing) {
  for (const float value : {448.0f, 449.0f, 464.0f, 480.0f, 1e30f, kInfinity}) {
    EXPECT_EQ(float_to_e4m3(value), 0x7e) << value;
    EXPECT_EQ(float_to_e4m3(-value), 0xfe) << value;
  }
}

// Every NaN stays NaN through narrowing, whatever its payload: a payload in the low bits only must
// not turn into infinity.
TEST(DType, NanStaysNan) {
  for (const uint32_t bits : {0x7fc00000u, 0x7f800001u, 0x7fffffffu, 0xffc00000u, 0xff800001u}) {
    const auto nan = std::bit_cast<float>(bits);
    EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(nan)))) << bits;
    EXPECT_TRUE(std::isnan(bf16_to_float(float_to_bf16(nan)))) << bits;
    EXPECT_TRUE(std::isnan(e4m3_to_float(float_to_e4m3(nan)))) << bits;
  }
  for (uint32_t code = 0x7c01; code < 0x8000; ++code) {
    ASSERT_TRUE(std::isnan(f16_to_float(static_cast<uint16_t>(code))));
    ASSERT_TRUE(std::isnan(f16_to_float(static_cast<uint16_t>(code | 0x8000))));
  }
  for (uint32_t code = 0x7f81; code < 0x8000; ++code) {
    ASSERT_TRUE(std::isnan(bf16_to_float(static_cast<uint16_t>(code))));
  }
  EXPECT_TRUE(std::isnan(e4m3_to_float(0x7f)));
  EXPECT_TRUE(std::isnan(e4m3_to_float(0xff)));
}

}  // namespace
}  // namespace kvg
