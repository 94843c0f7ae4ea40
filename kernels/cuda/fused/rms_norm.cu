#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/fused/rms_norm.h"
#include "kernels/cuda/fused/vectors.cuh"

#include <cuda_bf16.h>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 512;

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

// One block a row, which stays in registers: kEights times eight elements a thread.
template <typename T, int kEights>
__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(T* x, const T* delta, const T* weight, T* out, int64_t hidden, float eps) {
  allow_next_launch();
  const int64_t row = blockIdx.x * hidden;
  Eight value[kEights] = {};
  Eight gain[kEights] = {};  // under way before the row is there
#pragma unroll
  for (int k = 0; k < kEights; ++k) {
    const int64_t i = (k * kThreads + static_cast<int>(threadIdx.x)) * 8;
    if (i < hidden) gain[k] = load_eight(weight + i);
  }
  wait_for_previous_launch();
  float squares = 0;
#pragma unroll
  for (int k = 0; k < kEights; ++k) {
    const int64_t i = (k * kThreads + static_cast<int>(threadIdx.x)) * 8;
    if (i >= hidden) break;
    value[k] = load_eight(x + row + i);
    if (delta != nullptr) {
      const Eight added = load_eight(delta + row + i);
#pragma unroll
      for (int j = 0; j < 8; ++j) value[k].v[j] += added.v[j];
      value[k] = store_eight(x + row + i, value[k]);
    }
#pragma unroll
    for (int j = 0; j < 8; ++j) squares += value[k].v[j] * value[k].v[j];
  }
  const float scale = rsqrtf(block_sum(squares) / static_cast<float>(hidden) + eps);
#pragma unroll
  for (int k = 0; k < kEights; ++k) {
    const int64_t i = (k * kThreads + static_cast<int>(threadIdx.x)) * 8;
    if (i >= hidden) break;
#pragma unroll
    for (int j = 0; j < 8; ++j) value[k].v[j] *= scale * gain[k].v[j];
    store_eight(out + row + i, value[k]);
  }
}

template <typename T, int kEights>
cudaError_t launch_eights(const RmsNormLaunch& p, cudaStream_t stream) {
  return launch_overlapping(rms_norm_kernel<T, kEights>, dim3(static_cast<unsigned>(p.rows)),
                            dim3(kThreads), stream, static_cast<T*>(p.x),
                            static_cast<const T*>(p.delta), static_cast<const T*>(p.weight),
                            static_cast<T*>(p.out), p.hidden, p.eps);
}

template <typename T>
cudaError_t launch_as(const RmsNormLaunch& p, cudaStream_t stream) {
  constexpr int64_t kOnce = kThreads * 8;
  if (p.hidden <= kOnce) return launch_eights<T, 1>(p, stream);
  if (p.hidden <= 2 * kOnce) return launch_eights<T, 2>(p, stream);
  return launch_eights<T, 4>(p, stream);
}

static_assert(4 * kThreads * 8 == kRmsNormMaxHidden);

}  // namespace

cudaError_t launch(const RmsNormLaunch& p, cudaStream_t stream) {
  if (p.rows < 0 || p.rows > 0x7fffffff || p.hidden <= 0 || p.hidden % 8 != 0 ||
      p.hidden > kRmsNormMaxHidden) {
    return cudaErrorInvalidValue;
  }
  if (p.rows == 0) return cudaSuccess;
  if (p.dtype == DType::bf16) return launch_as<__nv_bfloat16>(p, stream);
  if (p.dtype == DType::f32) return launch_as<float>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
