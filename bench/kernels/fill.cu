#include "bench/kernels/fill.h"

#include <cuda_bf16.h>

namespace kvg {

namespace {

template <typename T>
__global__ void fill_kernel(T* to, int64_t elements, uint64_t seed, float scale, float offset) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < elements;
       i += stride) {
    const float value = uniform_value(seed, static_cast<uint64_t>(i), scale, offset);
    if constexpr (sizeof(T) == 2) {
      to[i] = __float2bfloat16_rn(value);
    } else {
      to[i] = value;
    }
  }
}

}  // namespace

cudaError_t fill_uniform(void* to, DType type, int64_t elements, uint64_t seed, float scale,
                         float offset, cudaStream_t stream) {
  if (elements == 0) return cudaSuccess;
  constexpr int kBlocks = 2048, kThreads = 256;
  if (type == DType::bf16) {
    fill_kernel<<<kBlocks, kThreads, 0, stream>>>(static_cast<__nv_bfloat16*>(to), elements, seed,
                                                  scale, offset);
  } else if (type == DType::f32) {
    fill_kernel<<<kBlocks, kThreads, 0, stream>>>(static_cast<float*>(to), elements, seed, scale,
                                                  offset);
  } else {
    return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

}  // namespace kvg
