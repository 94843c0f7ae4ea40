#pragma once

#include "kernels/dtype.h"
#include "kernels/landmark.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace kvg::reference {

// One floating-point operation's result in the arithmetic that the rules ask for.
template <typename T>
struct Arithmetic {
  bool bf16 = false;
  T operator()(T x) const {
    return bf16 ? static_cast<T>(bf16_to_float(float_to_bf16(static_cast<float>(x)))) : x;
  }
};

// Eight partial sums, so that the compiler may use vector registers without reordering anything.
template <typename T>
T dot(const T* a, const T* b, int64_t n) {
  std::array<T, 8> sums{};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) {
      const auto at = static_cast<size_t>(i) + lane;
      sums[lane] += a[at] * b[at];
    }
  }
  T sum = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// out = x / max(|x|, 1e-6)
template <typename T>
void normalize(const T* x, int64_t n, const Arithmetic<T>& round, T* out) {
  const T norm = round(std::max(std::sqrt(dot(x, x, n)), T(1e-6)));
  for (int64_t i = 0; i < n; ++i) out[i] = round(x[i] / norm);
}

// The unit vectors of a bank's slots, [kv_heads, slots, width]: what tokens are compared with.
// Where normalised copies are resident (LandmarkBank::exact_unit), they are what counts.
template <typename T>
class UnitVectors {
 public:
  UnitVectors(int kv_heads, int64_t slots, int64_t width, Arithmetic<T> round, void* resident)
      : kv_heads_(kv_heads),
        slots_(slots),
        width_(width),
        round_(round),
        resident_(resident),
        values_(static_cast<size_t>(kv_heads * slots * width)) {
    if (resident_ == nullptr) return;
    for (size_t i = 0; i < values_.size(); ++i) values_[i] = read_resident(i);
  }

  bool resident() const { return resident_ != nullptr; }
  int64_t width() const { return width_; }

  void set(int kv_head, int64_t slot, const T* x) {
    const auto first = static_cast<size_t>((kv_head * slots_ + slot) * width_);
    normalize(x, width_, round_, &values_[first]);
    if (resident_ == nullptr) return;
    for (size_t i = first; i < first + static_cast<size_t>(width_); ++i) {
      write_resident(i);
      values_[i] = read_resident(i);
    }
  }

  // Mean over KV heads of <unit[h], slot m of head h>, for every slot; unit [kv_heads, width].
  void compare(const T* unit, T* scores) const {
    std::fill_n(scores, slots_, T{0});
    for (int h = 0; h < kv_heads_; ++h) {
      const T* head = values_.data() + h * slots_ * width_;
      for (int64_t m = 0; m < slots_; ++m) {
        scores[m] += round_(dot(unit + h * width_, head + m * width_, width_));
      }
    }
    for (int64_t m = 0; m < slots_; ++m) scores[m] = round_(scores[m] / static_cast<T>(kv_heads_));
  }

 private:
  T read_resident(size_t i) const {
    if (round_.bf16) return static_cast<T>(bf16_to_float(static_cast<uint16_t*>(resident_)[i]));
    return static_cast<T>(static_cast<float*>(resident_)[i]);
  }
  void write_resident(size_t i) {
    const auto value = static_cast<float>(values_[i]);
    if (round_.bf16) {
      static_cast<uint16_t*>(resident_)[i] = float_to_bf16(value);
    } else {
      static_cast<float*>(resident_)[i] = value;
    }
  }

  int kv_heads_;
  int64_t slots_, width_;
  Arithmetic<T> round_;
  void* resident_;
  std::vector<T> values_;
};

// A token that is offered to the banks.
struct LandmarkToken {
  int64_t row = 0;  // in LandmarkParams::k
  int64_t position = 0;
  float gate = 0;
};

template <typename T>
const T* token_vector(const Tensor& x, int64_t row, int kv_head) {
  return static_cast<const T*>(x.data) + (row * x.size(1) + kv_head) * x.size(2);
}

}  // namespace kvg::reference
