#include "bench/peers/combine.h"
#include "kernels/cuda/fused/vectors.cuh"

namespace kvg {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    combine_kernel(const __grid_constant__ CombineLaunch p) {
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int pieces = p.head_dim / 8;
  const int64_t head_row = index / pieces;  // of [rows, heads]
  if (head_row >= p.rows * p.heads) return;
  const int64_t column = index % pieces * 8;
  const int64_t from =
      head_row / p.heads * p.row_stride + head_row % p.heads * p.head_stride + column;
  cuda::Eight x = cuda::load_eight(static_cast<const __nv_bfloat16*>(p.first) + from);
  const cuda::Eight y = cuda::load_eight(static_cast<const __nv_bfloat16*>(p.second) + from);
  const float lambda = p.lambda[head_row];
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] -= lambda * y.v[i];
  cuda::store_eight(static_cast<__nv_bfloat16*>(p.out) + head_row * p.head_dim + column, x);
}

}  // namespace

cudaError_t launch(const CombineLaunch& p, cudaStream_t stream) {
  if (p.head_dim <= 0 || p.head_dim % 8 != 0 || p.rows < 0) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  const int64_t pieces = p.rows * p.heads * (p.head_dim / 8);
  const auto blocks = static_cast<unsigned>((pieces + kThreads - 1) / kThreads);
  combine_kernel<<<blocks, kThreads, 0, stream>>>(p);
  return cudaGetLastError();
}

}  // namespace kvg
