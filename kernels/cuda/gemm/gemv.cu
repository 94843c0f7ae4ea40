#include "kernels/cuda/gemm/gemv.h"

#include <cuda_bf16.h>

// The rows of x are columns of mma.m16n8k16's B, the rows of W its A: the tensor cores do the
// arithmetic and the conversions, so that a warp has little to do but to load. The order of k
// within a product is free: lane (g, t) takes 16 contiguous bytes, its share of two products,
// straight into the registers that multiply them.
//
// With fewer than five rows of x, B has columns to spare. Then a row of W is cut into kParts parts
// that stand in different rows of A, each meets the same part of x in its own column of B, and only
// the results where the parts agree count: one load of a warp covers 64 kParts contiguous bytes of
// a row.
namespace kvg::cuda {

namespace {

constexpr int kWarps = 8;
constexpr int kDepth = 4;   // steps in flight: 4 KiB a warp
constexpr int kBlocks = 3;  // a multiprocessor

template <int kParts>
struct Shape {
  static constexpr int kHalf = 8 / kParts;     // rows of W in the upper half of a product
  static constexpr int kTileRows = 2 * kHalf;  // rows of W a warp
  static constexpr int kColumns = 8 / kParts;  // rows of x at most
  static constexpr int kStep = 32 * kParts;    // columns of W that one load covers
  static constexpr int kSplit = kParts == 1   ? 8
                                : kParts == 2 ? 4
                                              : 2;  // warps that share a tile's columns
  static constexpr int kTiles = kWarps / kSplit;
  static constexpr int kBlockRows = kTiles * kTileRows;
};

struct Step {
  uint4 low, high;  // a row of W in either half of the product
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
template <int kStep>
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
template <int kStep>
__device__ void accumulate(const Lane<kStep>& lane, int64_t begin, int64_t end, float (&sum)[4]) {
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

template <int kParts, typename T>
__global__ void __launch_bounds__(kWarps * 32, kBlocks)
    gemv_kernel(const __nv_bfloat16* x, const __nv_bfloat16* weight, const __nv_bfloat16* bias,
                T* result, int rows, int64_t in, int64_t out) {
  using S = Shape<kParts>;
  // [tile row][row of x][share of the columns: warp, part]
  __shared__ float partial[S::kBlockRows][S::kColumns][S::kSplit * kParts];
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int tile = warp / S::kSplit;
  const int share = warp % S::kSplit;
  const int group = static_cast<int>(threadIdx.x) % 32 / 4;
  const int quarter = static_cast<int>(threadIdx.x) % 4;
  const int part = group % kParts;
  const int line = group / kParts;  // of its half in A, of x in B
  const int64_t first = static_cast<int64_t>(blockIdx.x) * S::kBlockRows;
  const int64_t last = out - 1;
  const int64_t low = first + tile * S::kTileRows + line;
  const Lane<S::kStep> lane{weight + min(low, last) * in, weight + min(low + S::kHalf, last) * in,
                            line < rows ? x + line * in : nullptr, part * 32 + quarter * 8, in};
  const int64_t steps = (in + S::kStep - 1) / S::kStep;
  float sum[4] = {};
  accumulate(lane, steps * share / S::kSplit, steps * (share + 1) / S::kSplit, sum);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int column = quarter * 2 + i % 2;
    if (column % kParts == part) {
      partial[tile * S::kTileRows + line + i / 2 * S::kHalf][column / kParts]
             [share * kParts + part] = sum[i];
    }
  }
  __syncthreads();

  // One thread a result; neighbours write neighbouring columns.
  const int tile_row = static_cast<int>(threadIdx.x) % S::kBlockRows;
  const int row = static_cast<int>(threadIdx.x) / S::kBlockRows;
  if (row >= rows || first + tile_row > last) return;
  float total = bias != nullptr ? __bfloat162float(bias[first + tile_row]) : 0.0f;
#pragma unroll
  for (int i = 0; i < S::kSplit * kParts; ++i) total += partial[tile_row][row][i];
  result[row * out + first + tile_row] = narrow<T>(total);
}

template <int kParts, typename T>
cudaError_t launch_as(const GemvLaunch& p, cudaStream_t stream) {
  constexpr int kBlockRows = Shape<kParts>::kBlockRows;
  const int64_t blocks = (p.out + kBlockRows - 1) / kBlockRows;
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  gemv_kernel<kParts, T><<<static_cast<unsigned>(blocks), kWarps * 32, 0, stream>>>(
      static_cast<const __nv_bfloat16*>(p.x), static_cast<const __nv_bfloat16*>(p.weight),
      static_cast<const __nv_bfloat16*>(p.bias), static_cast<T*>(p.result),
      static_cast<int>(p.rows), p.in, p.out);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch_rows(const GemvLaunch& p, cudaStream_t stream) {
  if (p.rows == 1) return launch_as<8, T>(p, stream);
  if (p.rows == 2) return launch_as<4, T>(p, stream);
  if (p.rows <= 4) return launch_as<2, T>(p, stream);
  return launch_as<1, T>(p, stream);
}

}  // namespace

cudaError_t launch(const GemvLaunch& p, cudaStream_t stream) {
  if (!gemv_serves(p.rows, p.in) || p.out <= 0) return cudaErrorInvalidValue;
  if (p.result_type == DType::bf16) return launch_rows<__nv_bfloat16>(p, stream);
  if (p.result_type == DType::f32) return launch_rows<float>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace kvg::cuda
