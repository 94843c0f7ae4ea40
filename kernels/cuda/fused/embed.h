#pragma once

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg::cuda {

// out[r] = table[tokens[r]], of any element type. A token outside of the table reads its nearest
// row: choices of an earlier step are not looked at by the host before they are embedded.
struct EmbedLaunch {
  const int32_t* tokens = nullptr;  // [rows]
  const void* table = nullptr;      // [vocab, row_bytes]
  void* out = nullptr;              // [rows, row_bytes]
  int64_t rows = 0;
  int64_t vocab = 0;
  int64_t row_bytes = 0;  // a multiple of 16
};

cudaError_t launch(const EmbedLaunch& params, cudaStream_t stream);

inline int64_t bytes(const EmbedLaunch& p) { return p.rows * (2 * p.row_bytes + 4); }
inline int64_t flops(const EmbedLaunch&) { return 0; }

}  // namespace kvg::cuda
