#pragma once

#include "kernels/cuda/error.h"
#include "kernels/cuda/gpu_test.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// A vector of a test on the device, and back.
template <typename T>
class DeviceVector {
 public:
  // Poisoned.
  explicit DeviceVector(size_t size)
      : buffer_(std::max<size_t>(size, 1) * sizeof(T)), size_(size) {}
  explicit DeviceVector(const std::vector<T>& values) : DeviceVector(values.size()) {
    KVG_CHECK_CUDA(cudaMemcpy(buffer_.data(), values.data(), values.size() * sizeof(T),
                              cudaMemcpyHostToDevice));
  }
  T* data() const { return static_cast<T*>(buffer_.data()); }
  std::vector<T> download() const {
    std::vector<T> values(size_);
    KVG_CHECK_CUDA(
        cudaMemcpy(values.data(), buffer_.data(), size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  TestBuffer buffer_;
  size_t size_;
};

}  // namespace kvg::cuda
