#include "kernels/cuda/gemm/gemv.h"

#include <cuda_bf16.h>

// The rows of x are the eight columns of mma.m16n8k16's B, the rows of W its A: the tensor cores do
// the arithmetic and the conversions, so that a warp has little to do but to load. The order of k
// within a product is free; here lane (g, t) of a warp takes 16 contiguous bytes of row g, which
// are its share of two products. W is thus read straight into the registers that multiply it.
namespace kvg::cuda {

namespace {

constexpr int kWarps = 8;      // share the columns of a block's rows
constexpr int kTileRows = 16;  // rows of W a block
constexpr int kStep = 32;      // columns of W that one load a row covers
constexpr int kDepth = 8;      // steps in flight: 8 KiB a warp

struct Step {
  uint4 low, high;  // rows g and g + 8
};

__device__ uint4 load_streaming(const void* from) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from));
  return value;
}

__device__ void multiply(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                         uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ void multiply(float (&sum)[4], const Step& w, const uint4& x) {
  multiply(sum, w.low.x, w.high.x, w.low.y, w.high.y, x.x, x.y);
  multiply(sum, w.low.z, w.high.z, w.low.w, w.high.w, x.z, x.w);
}

// What one lane reads: its two rows of W and its row of x, from its first column on.
struct Lane {
  const __nv_bfloat16* low;
  const __nv_bfloat16* high;
  const __nv_bfloat16* x;  // null: a column of B beyond the rows of x
  int64_t column, in;

  // Beyond the last column everything is zero.
  __device__ Step weights(int64_t step) const {
    const int64_t at = column + step * kStep;
    if (at >= in) return {};
    return {load_streaming(low + at), load_streaming(high + at)};
  }
  __device__ uint4 inputs(int64_t step) const {
    const int64_t at = column + step * kStep;
    if (at >= in || x == nullptr) return {};
    return __ldg(reinterpret_cast<const uint4*>(x + at));
  }
};

// Products over steps [begin, end), the weights of the next kDepth steps always under way.
__device__ void accumulate(const Lane& lane, int64_t begin, int64_t end, float (&sum)[4]) {
  Step ahead[kDepth];
#pragma unroll
  for (int i = 0; i < kDepth; ++i) {
    ahead[i] = begin + i < end ? lane.weights(begin + i) : Step{};
  }
  for (int64_t step = begin; step < end; step += kDepth) {
#pragma unroll
    for (int i = 0; i < kDepth; ++i) {
      if (step + i >= end) break;
      multiply(sum, ahead[i], lane.inputs(step + i));
      if (step + i + kDepth < end) ahead[i] = lane.weights(step + i + kDepth);
    }
  }
}

template <typename T>
__device__ T narrow(float value) {
  if constexpr (sizeof(T) == 2) return __float2bfloat16_rn(value);
  return value;
}

template <typename T>
__global__ void __launch_bounds__(kWarps * 32, 2)
    gemv_kernel(const __nv_bfloat16* x, const __nv_bfloat16* weight, const __nv_bfloat16* bias,
                T* result, int rows, int64_t in, int64_t out) {
  __shared__ float partial[kWarps][kTileRows][kGemvMaxRows];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int group = static_cast<int>(threadIdx.x) % 32 / 4;
  const int quarter = static_cast<int>(threadIdx.x) % 4;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTileRows;
  const int64_t last = out - 1;
  const Lane lane{weight + min(first + group, last) * in,
                  weight + min(first + group + 8, last) * in,
                  group < rows ? x + group * in : nullptr, quarter * 8, in};
  const int64_t steps = (in + kStep - 1) / kStep;
  float sum[4] = {};
  accumulate(lane, steps * warp / kWarps, steps * (warp + 1) / kWarps, sum);
#pragma unroll
  for (int i = 0; i < 4; ++i) partial[warp][group + i / 2 * 8][quarter * 2 + i % 2] = sum[i];
  __syncthreads();

  // One thread a result; neighbours write neighbouring columns.
  const int tile_row = static_cast<int>(threadIdx.x) % kTileRows;
  const int row = static_cast<int>(threadIdx.x) / kTileRows;
  if (row >= rows || first + tile_row > last) return;
  float total = bias != nullptr ? __bfloat162float(bias[first + tile_row]) : 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += partial[w][tile_row][row];
  result[row * out + first + tile_row] = narrow<T>(total);
}

template <typename T>
cudaError_t launch_as(const GemvLaunch& p, cudaStream_t stream) {
  const int64_t blocks = (p.out + kTileRows - 1) / kTileRows;
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  gemv_kernel<T><<<static_cast<unsigned>(blocks), kWarps * 32, 0, stream>>>(
      static_cast<const __nv_bfloat16*>(p.x), static_cast<const __nv_bfloat16*>(p.weight),
      static_cast<const __nv_bfloat16*>(p.bias), static_cast<T*>(p.result),
      static_cast<int>(p.rows), p.in, p.out);
  return cudaGetLastError();
}

}  // namespace

cudaError_t launch(const GemvLaunch& p, cudaStream_t stream) {
  if (!gemv_serves(p.rows, p.in) || p.out <= 0) return cudaErrorInvalidValue;
  if (p.result_type == DType::bf16) return launch_as<__nv_bfloat16>(p, stream);
  if (p.result_type == DType::f32) return launch_as<float>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
