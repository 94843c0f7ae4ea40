#include "kernels/cuda/dependent_launch.cuh"
#include "kernels/cuda/dependent_launch.h"
#include "kernels/cuda/fused/swiglu.h"
#include "kernels/cuda/fused/vectors.cuh"

#include <cuda_bf16.h>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void __launch_bounds__(kThreads)
    swiglu_kernel(const T* gate_up, T* out, int64_t eights, int64_t ffn) {
  allow_next_launch();
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= eights) return;
  const int64_t row = index * 8 / ffn;
  const int64_t column = index * 8 % ffn;
  wait_for_previous_launch();
  const Eight gate = load_eight(gate_up + row * 2 * ffn + column);
  const Eight up = load_eight(gate_up + row * 2 * ffn + ffn + column);
  Eight result;
#pragma unroll
  for (int j = 0; j < 8; ++j) result.v[j] = gate.v[j] / (1.0f + __expf(-gate.v[j])) * up.v[j];
  store_eight(out + row * ffn + column, result);
}

template <typename T>
cudaError_t launch_as(const SwigluLaunch& p, cudaStream_t stream) {
  const int64_t eights = p.rows * p.ffn / 8;
  const int64_t blocks = (eights + kThreads - 1) / kThreads;
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  return launch_overlapping(swiglu_kernel<T>, dim3(static_cast<unsigned>(blocks)), dim3(kThreads),
                            stream, static_cast<const T*>(p.gate_up), static_cast<T*>(p.out),
                            eights, p.ffn);
}

}  // namespace

cudaError_t launch(const SwigluLaunch& p, cudaStream_t stream) {
  if (p.rows < 0 || p.ffn <= 0 || p.ffn % 8 != 0) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  if (p.dtype == DType::bf16) return launch_as<__nv_bfloat16>(p, stream);
  if (p.dtype == DType::f32) return launch_as<float>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
