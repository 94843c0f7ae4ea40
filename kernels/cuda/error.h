#pragma once

#include <stdexcept>
#include <string>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// A CUDA call failed; the message has the call, the place and CUDA's own words.
class CudaError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  throw CudaError(std::string(file) + ":" + std::to_string(line) + ": " + call + ": " +
                  cudaGetErrorName(status) + " (" + cudaGetErrorString(status) + ")");
}

}  // namespace kvg::cuda

// Launch functions return cudaError_t; only their callers throw, through this.
#define KVG_CHECK_CUDA(call) ::kvg::cuda::check((call), #call, __FILE__, __LINE__)
