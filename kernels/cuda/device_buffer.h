#pragma once

#include "kernels/cuda/error.h"

#include <cstddef>
#include <utility>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// A table on the device that is written once and lives long: codecs' matrices, coordinates.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // A copy of host memory; done when this returns.
  DeviceBuffer(const void* host, size_t bytes) : bytes_(bytes) {
    if (bytes == 0) return;
    KVG_CHECK_CUDA(cudaMalloc(&data_, bytes));
    const cudaError_t copied = cudaMemcpy(data_, host, bytes, cudaMemcpyHostToDevice);
    if (copied != cudaSuccess) (void)cudaFree(data_);
    KVG_CHECK_CUDA(copied);
  }
  ~DeviceBuffer() { (void)cudaFree(data_); }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace kvg::cuda
