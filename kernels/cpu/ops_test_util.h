#pragma once

#include "base/random.h"
#include "kernels/codec.h"
#include "kernels/ops.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

// What the tests of operations share: inputs that both sets see with the same values, and errors by
// norm against the reference.
namespace kvg::ops_test {

// Every test draws from its own stream; the seed is part of a failure's message.
inline constexpr uint64_t kSeed = 20260131;

// A tensor in double and in float with equal values (rounded to float), or an output in both.
class Twin {
 public:
  Twin() = default;

  static Twin random(std::initializer_list<int64_t> shape, Random& random, double scale = 1,
                     double offset = 0) {
    Twin twin(shape);
    for (size_t i = 0; i < twin.narrow_.size(); ++i) {
      twin.narrow_[i] = static_cast<float>(offset + scale * random.normal());
      twin.wide_[i] = twin.narrow_[i];
    }
    return twin;
  }
  // Poisoned: an element that an operation forgets to write stays NaN.
  static Twin output(std::initializer_list<int64_t> shape) {
    Twin twin(shape);
    std::fill(twin.wide_.begin(), twin.wide_.end(), std::numeric_limits<double>::quiet_NaN());
    std::fill(twin.narrow_.begin(), twin.narrow_.end(), std::numeric_limits<float>::quiet_NaN());
    return twin;
  }

  // The view that a set of operations takes; empty if this is.
  Tensor on(const Ops& ops) {
    if (shape_.rank == 0) return {};
    Tensor view = shape_;
    view.dtype = ops.activation();
    view.data = ops.activation() == DType::f64 ? static_cast<void*>(wide_.data())
                                               : static_cast<void*>(narrow_.data());
    return view;
  }
  std::vector<double>& wide() { return wide_; }
  std::vector<float>& narrow() { return narrow_; }

  // |float - double| / |double|; infinite when anything is NaN.
  double error() const {
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < wide_.size(); ++i) {
      difference += (narrow_[i] - wide_[i]) * (narrow_[i] - wide_[i]);
      norm += wide_[i] * wide_[i];
    }
    if (std::isnan(difference) || std::isnan(norm)) return std::numeric_limits<double>::infinity();
    return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  }

 private:
  explicit Twin(std::initializer_list<int64_t> shape)
      : shape_(nullptr, DType::f64, Device::cpu, shape),
        wide_(static_cast<size_t>(shape_.elements())),
        narrow_(static_cast<size_t>(shape_.elements())) {}

  Tensor shape_;
  std::vector<double> wide_;
  std::vector<float> narrow_;
};

template <typename T>
Tensor view(std::vector<T>& values) {
  return {values.data(), dtype_of<T>(), Device::cpu, {static_cast<int64_t>(values.size())}};
}

// |a - b| / |b|
template <typename A, typename B>
double relative_error(const std::vector<A>& a, const std::vector<B>& b) {
  EXPECT_EQ(a.size(), b.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]);
    const double y = static_cast<double>(b[i]);
    difference += (x - y) * (x - y);
    norm += y * y;
  }
  if (std::isnan(difference)) return std::numeric_limits<double>::infinity();
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Both sets, made once.
struct Sets {
  std::unique_ptr<Ops> reference = make_reference_ops();
  std::unique_ptr<Ops> cpu = make_cpu_ops();
};

}  // namespace kvg::ops_test
