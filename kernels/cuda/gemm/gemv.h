#pragma once

#include "kernels/dtype.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// out = x W^T (+ bias) for a few rows: bounded by the one read of W from memory, which goes past
// the first-level cache with many loads in flight. bf16 in, fp32 sums in a fixed order.
struct GemvLaunch {
  const void* x = nullptr;       // [rows, in] bf16, 16-byte aligned
  const void* weight = nullptr;  // [out, in] bf16, 16-byte aligned
  const void* bias = nullptr;    // [out] bf16 or null
  void* result = nullptr;        // [rows, out] bf16 or f32
  int64_t rows = 0;              // 1..8
  int64_t in = 0;                // a multiple of 8
  int64_t out = 0;
  DType result_type = DType::bf16;
};

inline constexpr int64_t kGemvMaxRows = 8;
inline constexpr int64_t kGemvMaxSide = int64_t{1} << 24;  // of W

// Whether launch() can serve these shapes.
constexpr bool gemv_serves(int64_t rows, int64_t in) {
  return rows >= 1 && rows <= kGemvMaxRows && in > 0 && in <= kGemvMaxSide && in % 8 == 0;
}

// Overlaps the launch before it, which may write x but not W.
cudaError_t launch(const GemvLaunch& params, cudaStream_t stream);

inline int64_t bytes(const GemvLaunch& p) {
  const auto result_size = static_cast<int64_t>(dtype_size(p.result_type));
  return 2 * (p.out * p.in + p.rows * p.in) + (p.bias != nullptr ? 2 * p.out : 0) +
         result_size * p.rows * p.out;
}
inline int64_t flops(const GemvLaunch& p) { return 2 * p.rows * p.out * p.in; }

}  // namespace kvg::cuda
