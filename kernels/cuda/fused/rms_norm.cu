#include "kernels/cuda/fused/rms_norm.h"
#include "kernels/cuda/fused/vectors.cuh"

#include <cuda_bf16.h>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;

// Sum over the block, the same in every thread; in a fixed order, so bitwise repeatable.
__device__ float block_sum(float value) {
  __shared__ float partial[kThreads / 32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / 32; ++warp) sum += partial[warp];
  return sum;
}

// One block a row. The second pass reads the row again from the first-level cache.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(T* x, const T* delta, const T* weight, T* out, int64_t hidden, float eps) {
  T* row = x + blockIdx.x * hidden;
  float squares = 0;
  for (int64_t i = threadIdx.x * 8; i < hidden; i += kThreads * 8) {
    Eight value = load_eight(row + i);
    if (delta != nullptr) {
      const Eight added = load_eight(delta + blockIdx.x * hidden + i);
#pragma unroll
      for (int j = 0; j < 8; ++j) value.v[j] += added.v[j];
      value = store_eight(row + i, value);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) squares += value.v[j] * value.v[j];
  }
  const float scale = rsqrtf(block_sum(squares) / static_cast<float>(hidden) + eps);
  for (int64_t i = threadIdx.x * 8; i < hidden; i += kThreads * 8) {
    Eight value = load_eight(row + i);
    const Eight w = load_eight(weight + i);
#pragma unroll
    for (int j = 0; j < 8; ++j) value.v[j] *= scale * w.v[j];
    store_eight(out + blockIdx.x * hidden + i, value);
  }
}

template <typename T>
cudaError_t launch_as(const RmsNormLaunch& p, cudaStream_t stream) {
  rms_norm_kernel<T><<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(
      static_cast<T*>(p.x), static_cast<const T*>(p.delta), static_cast<const T*>(p.weight),
      static_cast<T*>(p.out), p.hidden, p.eps);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch(const RmsNormLaunch& p, cudaStream_t stream) {
  if (p.rows < 0 || p.rows > 0x7fffffff || p.hidden <= 0 || p.hidden % 8 != 0) {
    return cudaErrorInvalidValue;
  }
  if (p.rows == 0) return cudaSuccess;
  if (p.dtype == DType::bf16) return launch_as<__nv_bfloat16>(p, stream);
  if (p.dtype == DType::f32) return launch_as<float>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
