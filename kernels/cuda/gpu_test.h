#pragma once

#include "base/random.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/error.h"
#include "kernels/dtype.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

namespace kvg::cuda {

// Test fixture: skips, and says so, where there is no GPU.
class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (devices().empty()) GTEST_SKIP() << "skipped: no GPU";
  }
};

// Device memory for a test, poisoned with NaN patterns so that unwritten results show.
class TestBuffer {
 public:
  explicit TestBuffer(size_t bytes) : bytes_(bytes) {
    KVG_CHECK_CUDA(cudaMalloc(&data_, bytes));
    KVG_CHECK_CUDA(cudaMemset(data_, 0xff, bytes));
  }
  ~TestBuffer() { (void)cudaFree(data_); }
  TestBuffer(const TestBuffer&) = delete;
  TestBuffer& operator=(const TestBuffer&) = delete;
  void* data() const { return data_; }

  // Values go in rounded to `dtype` (bf16 or f32).
  void upload(const std::vector<double>& values, DType dtype) {
    std::vector<uint8_t> raw(values.size() * dtype_size(dtype));
    for (size_t i = 0; i < values.size(); ++i) {
      const auto value = static_cast<float>(values[i]);
      const uint16_t narrow = float_to_bf16(value);
      if (dtype == DType::bf16) {
        std::memcpy(raw.data() + 2 * i, &narrow, 2);
      } else {
        std::memcpy(raw.data() + 4 * i, &value, 4);
      }
    }
    KVG_CHECK_CUDA(cudaMemcpy(data_, raw.data(), raw.size(), cudaMemcpyHostToDevice));
  }
  std::vector<double> download(size_t n, DType dtype) const {
    std::vector<uint8_t> raw(n * dtype_size(dtype));
    KVG_CHECK_CUDA(cudaMemcpy(raw.data(), data_, raw.size(), cudaMemcpyDeviceToHost));
    std::vector<double> values(n);
    for (size_t i = 0; i < n; ++i) {
      if (dtype == DType::bf16) {
        uint16_t bits = 0;
        std::memcpy(&bits, raw.data() + 2 * i, 2);
        values[i] = bf16_to_float(bits);
      } else {
        float value = 0;
        std::memcpy(&value, raw.data() + 4 * i, 4);
        values[i] = value;
      }
    }
    return values;
  }

 private:
  void* data_ = nullptr;
  size_t bytes_;
};

// Normal values that `dtype` represents exactly, so that both sides start from the same numbers.
inline std::vector<double> random_values(size_t n, DType dtype, uint64_t seed) {
  Random random(seed);
  std::vector<double> values(n);
  for (double& value : values) {
    const auto narrow = static_cast<float>(random.normal());
    value = dtype == DType::bf16 ? bf16_to_float(float_to_bf16(narrow)) : narrow;
  }
  return values;
}

// |a - b| / |b|; NaN when any value is.
inline double relative_norm(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace kvg::cuda
