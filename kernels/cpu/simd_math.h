#pragma once

#include <bit>
#include <cstdint>

// Exponentials that a compiler can vectorise: no calls, no branches, no tables. exp(x) = 2^n exp(r)
// with n = round(x / ln 2) and |r| <= ln(2)/2; ln 2 is split in two so that r is exact, exp(r) is
// its Taylor polynomial, and 2^n is put together from bits. NaN gives NaN.
namespace kvg::cpu {

// Relative error below 2.5e-7 (two units in the last place) for x in [-87, 88]; 0 below (no
// denormals, which are slow in the products that follow), clamped to exp(88) above.
inline float fast_exp(float x) {
  constexpr float kMagic = 0x1.8p23f;  // adding it rounds to an integer, in the low mantissa bits
  const float clamped = x > 88.0f ? 88.0f : (x < -87.0f ? -87.0f : x);
  const float shifted = clamped * 1.44269504088896341f + kMagic;
  const float n = shifted - kMagic;
  const float r = (clamped - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;
  float poly = 1.0f / 5040;
  poly = poly * r + 1.0f / 720;
  poly = poly * r + 1.0f / 120;
  poly = poly * r + 1.0f / 24;
  poly = poly * r + 1.0f / 6;
  poly = poly * r + 0.5f;
  poly = poly * r + 1.0f;
  poly = poly * r + 1.0f;
  const uint32_t bits = std::bit_cast<uint32_t>(shifted) << 23;  // n << 23, modulo 2^32
  const float power = std::bit_cast<float>(bits + 0x3f800000u);
  return x < -87.0f ? 0.0f : poly * power;
}

// Relative error below 5e-16 for x in [-708, 709]; 0 below, clamped to exp(709) above.
inline double fast_exp(double x) {
  constexpr double kMagic = 0x1.8p52;
  const double clamped = x > 709.0 ? 709.0 : (x < -708.0 ? -708.0 : x);
  const double shifted = clamped * 1.44269504088896340736 + kMagic;
  const double n = shifted - kMagic;
  const double r = (clamped - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
  double poly = 1.0 / 6227020800;
  poly = poly * r + 1.0 / 479001600;
  poly = poly * r + 1.0 / 39916800;
  poly = poly * r + 1.0 / 3628800;
  poly = poly * r + 1.0 / 362880;
  poly = poly * r + 1.0 / 40320;
  poly = poly * r + 1.0 / 5040;
  poly = poly * r + 1.0 / 720;
  poly = poly * r + 1.0 / 120;
  poly = poly * r + 1.0 / 24;
  poly = poly * r + 1.0 / 6;
  poly = poly * r + 0.5;
  poly = poly * r + 1.0;
  poly = poly * r + 1.0;
  const uint64_t bits = std::bit_cast<uint64_t>(shifted) << 52;
  const double power = std::bit_cast<double>(bits + 0x3ff0000000000000u);
  return x < -708.0 ? 0.0 : poly * power;
}

}  // namespace kvg::cpu
