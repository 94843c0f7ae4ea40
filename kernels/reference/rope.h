#pragma once

#include "base/error.h"
#include "kernels/dtype.h"
#include "kernels/ops.h"

#include <array>
#include <cmath>
#include <cstdint>

namespace kvg::reference {

inline constexpr int kMaxHeadDim = 512;

// Cosines and sines of the angles by which one vector's pairs are turned.
template <typename T>
struct Turn {
  std::array<T, kMaxHeadDim / 2> cos;
  std::array<T, kMaxHeadDim / 2> sin;
};

// The angles of rotary position embedding: pair i of a vector at position p turns by
// p * base^(-2i/head_dim). Angles, cosines and sines are computed in double whatever T is:
// positions reach millions, where a float angle has lost its fraction.
class RopeAngles {
 public:
  RopeAngles(const RopeSettings& settings, int head_dim)
      : pairs_(head_dim / 2), bf16_(settings.bf16_angles) {
    KVG_CHECK(head_dim <= kMaxHeadDim, "head_dim beyond the reach of RoPE");
    for (int i = 0; i < pairs_; ++i) {
      const double frequency = std::pow(settings.base, -2.0 * i / head_dim);
      frequency_[static_cast<size_t>(i)] = bf16_ ? round_bf16(frequency) : frequency;
    }
  }

  template <typename T>
  void at(int64_t position, Turn<T>& turn) const {
    const auto exact = static_cast<double>(position);
    const double rounded = bf16_ ? round_bf16(exact) : exact;
    for (size_t i = 0; i < static_cast<size_t>(pairs_); ++i) {
      const double angle = rounded * frequency_[i];
      if (bf16_) {
        turn.cos[i] = static_cast<T>(round_bf16(std::cos(round_bf16(angle))));
        turn.sin[i] = static_cast<T>(round_bf16(std::sin(round_bf16(angle))));
      } else {
        turn.cos[i] = static_cast<T>(std::cos(angle));
        turn.sin[i] = static_cast<T>(std::sin(angle));
      }
    }
  }

 private:
  static double round_bf16(double value) {
    return bf16_to_float(float_to_bf16(static_cast<float>(value)));
  }

  int pairs_;
  bool bf16_;
  std::array<double, kMaxHeadDim / 2> frequency_{};
};

// (a, b) -> (a cos - b sin, a sin + b cos) for every pair of a vector, in place. Pair i is
// (i, i + head_dim/2) when half_split, (2i, 2i+1) otherwise.
template <typename T>
void rotate(const T* cos, const T* sin, int head_dim, bool half_split, T* x) {
  const int pairs = head_dim / 2;
  const int step = half_split ? 1 : 2;
  const int other = half_split ? pairs : 1;
  for (int i = 0; i < pairs; ++i) {
    const T a = x[step * i];
    const T b = x[step * i + other];
    x[step * i] = a * cos[i] - b * sin[i];
    x[step * i + other] = a * sin[i] + b * cos[i];
  }
}

}  // namespace kvg::reference
