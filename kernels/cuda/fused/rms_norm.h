#pragma once

#include "kernels/dtype.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

inline constexpr int64_t kRmsNormMaxHidden = 16384;

// The residual stream and its norm in one pass over memory (kernels/ops.h, RmsNormParams):
// x += delta when delta is given, then out = x / sqrt(mean(x^2) + eps) * weight. Sums in fp32; x is
// rounded to its own type before it is squared, so that the norm is that of what is stored.
struct RmsNormLaunch {
  void* x = nullptr;             // [rows, hidden]
  const void* delta = nullptr;   // [rows, hidden] or null
  const void* weight = nullptr;  // [hidden]
  void* out = nullptr;           // [rows, hidden]
  int64_t rows = 0;
  int64_t hidden = 0;  // a multiple of 8, at most kRmsNormMaxHidden
  float eps = 1e-5f;
  DType dtype = DType::bf16;  // of all tensors: bf16 or f32
};

// Overlaps the launch before it, which may write x and delta but not the weight.
cudaError_t launch(const RmsNormLaunch& params, cudaStream_t stream);

// Device memory traffic when nothing is cached between the tensors.
inline int64_t bytes(const RmsNormLaunch& p) {
  const int64_t row_passes = p.delta != nullptr ? 4 : 2;  // x, delta read, x, out written
  return (row_passes * p.rows + 1) * p.hidden * static_cast<int64_t>(dtype_size(p.dtype));
}
inline int64_t flops(const RmsNormLaunch& p) {
  return p.rows * p.hidden * (p.delta != nullptr ? 5 : 4);
}

}  // namespace kvg::cuda
