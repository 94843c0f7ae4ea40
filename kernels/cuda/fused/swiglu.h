#pragma once

#include "kernels/dtype.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// out = silu(gate) * up, in fp32 (kernels/ops.h, SwigluParams).
struct SwigluLaunch {
  const void* gate_up = nullptr;  // [rows, 2 * ffn]: gate, then up
  void* out = nullptr;            // [rows, ffn]
  int64_t rows = 0;
  int64_t ffn = 0;            // a multiple of 8
  DType dtype = DType::bf16;  // bf16 or f32
};

cudaError_t launch(const SwigluLaunch& params, cudaStream_t stream);

inline int64_t bytes(const SwigluLaunch& p) {
  return 3 * p.rows * p.ffn * static_cast<int64_t>(dtype_size(p.dtype));
}
inline int64_t flops(const SwigluLaunch& p) { return 5 * p.rows * p.ffn; }

}  // namespace kvg::cuda
