#pragma once

#include "kernels/cuda/error.h"

#include <string>

#include <cublasLt.h>

namespace kvg::cuda {

inline void check_cublas(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw CudaError(std::string(file) + ":" + std::to_string(line) + ": " + call + ": " +
                  cublasLtGetStatusName(status) + " (" + cublasLtGetStatusString(status) + ")");
}

}  // namespace kvg::cuda

#define KVG_CHECK_CUBLAS(call) ::kvg::cuda::check_cublas((call), #call, __FILE__, __LINE__)
