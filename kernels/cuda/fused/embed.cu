#include "kernels/cuda/fused/embed.h"

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;

// One thread moves 16 bytes.
__global__ void __launch_bounds__(kThreads)
    embed_kernel(const int32_t* tokens, const uint4* table, uint4* out, int64_t pieces,
                 int64_t pieces_a_row, int64_t vocab) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= pieces) return;
  const int64_t row = index / pieces_a_row;
  const int64_t token = min(max(static_cast<int64_t>(tokens[row]), int64_t{0}), vocab - 1);
  out[index] = table[token * pieces_a_row + index % pieces_a_row];
}

}  // namespace

cudaError_t launch(const EmbedLaunch& p, cudaStream_t stream) {
  if (p.rows < 0 || p.vocab <= 0 || p.row_bytes <= 0 || p.row_bytes % 16 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.rows == 0) return cudaSuccess;
  const int64_t pieces = p.rows * (p.row_bytes / 16);
  const int64_t blocks = (pieces + kThreads - 1) / kThreads;
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  // Not overlapping the launches before it: those after it may count on them (decode.h).
  embed_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      p.tokens, static_cast<const uint4*>(p.table), static_cast<uint4*>(p.out), pieces,
      p.row_bytes / 16, p.vocab);
  return cudaGetLastError();
}

}  // namespace kvg::cuda
