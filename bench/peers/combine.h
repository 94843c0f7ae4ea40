#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg {

// The second half of differential attention by way of two softmax attentions of one stream:
// out = first - lambda second, head by head. `stride`: elements from one head to the next and from
// one row to the next, the same in both, so that heads may lie side by side or a stream apart.
struct CombineLaunch {
  const void* first = nullptr;    // bf16
  const void* second = nullptr;   // bf16
  const float* lambda = nullptr;  // [rows, heads]
  void* out = nullptr;            // [rows, heads, head_dim] bf16
  int64_t rows = 0;
  int32_t heads = 0, head_dim = 0;  // head_dim a multiple of 8
  int64_t head_stride = 0, row_stride = 0;
};

cudaError_t launch(const CombineLaunch& params, cudaStream_t stream);

}  // namespace kvg
