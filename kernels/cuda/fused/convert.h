#pragma once

#include "kernels/dtype.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// to[i] = from[i], rounded to nearest even, between f64, f32 and bf16 of different types.
struct ConvertLaunch {
  const void* from = nullptr;  // [elements]
  void* to = nullptr;          // [elements]
  int64_t elements = 0;
  DType from_type = DType::f32;
  DType to_type = DType::bf16;
};

// cudaErrorInvalidValue for other pairs of types.
cudaError_t launch(const ConvertLaunch& params, cudaStream_t stream);

inline int64_t bytes(const ConvertLaunch& p) {
  return p.elements * static_cast<int64_t>(dtype_size(p.from_type) + dtype_size(p.to_type));
}
inline int64_t flops(const ConvertLaunch&) { return 0; }

}  // namespace kvg::cuda
