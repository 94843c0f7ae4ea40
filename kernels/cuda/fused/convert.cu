#include "kernels/cuda/fused/convert.h"

#include <cuda_bf16.h>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;

__device__ void assign(double from, float& to) { to = static_cast<float>(from); }
__device__ void assign(float from, double& to) { to = static_cast<double>(from); }
__device__ void assign(float from, __nv_bfloat16& to) { to = __float2bfloat16_rn(from); }
__device__ void assign(__nv_bfloat16 from, float& to) { to = __bfloat162float(from); }
// By way of f32, as the host does (kernels/convert.h).
__device__ void assign(double from, __nv_bfloat16& to) {
  to = __float2bfloat16_rn(static_cast<float>(from));
}
__device__ void assign(__nv_bfloat16 from, double& to) {
  to = static_cast<double>(__bfloat162float(from));
}

template <typename From, typename To>
__global__ void __launch_bounds__(kThreads)
    convert_kernel(const From* from, To* to, int64_t elements) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < elements;
       i += stride) {
    assign(from[i], to[i]);
  }
}

template <typename From, typename To>
cudaError_t launch_as(const ConvertLaunch& p, cudaStream_t stream) {
  constexpr int64_t kMaxBlocks = 4096;
  const int64_t blocks = min((p.elements + kThreads - 1) / kThreads, kMaxBlocks);
  convert_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(
      static_cast<const From*>(p.from), static_cast<To*>(p.to), p.elements);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch(const ConvertLaunch& p, cudaStream_t stream) {
  if (p.elements < 0) return cudaErrorInvalidValue;
  if (p.elements == 0) return cudaSuccess;
  const auto is = [&p](DType from, DType to) { return p.from_type == from && p.to_type == to; };
  if (is(DType::f64, DType::f32)) return launch_as<double, float>(p, stream);
  if (is(DType::f64, DType::bf16)) return launch_as<double, __nv_bfloat16>(p, stream);
  if (is(DType::f32, DType::f64)) return launch_as<float, double>(p, stream);
  if (is(DType::f32, DType::bf16)) return launch_as<float, __nv_bfloat16>(p, stream);
  if (is(DType::bf16, DType::f64)) return launch_as<__nv_bfloat16, double>(p, stream);
  if (is(DType::bf16, DType::f32)) return launch_as<__nv_bfloat16, float>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
