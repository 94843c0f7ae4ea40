#include "kernels/cuda/fused/nll.h"

#include <cfloat>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 8;  // loads in flight a thread

// sum exp(x) as sum * exp(largest)
struct LogSum {
  float largest;
  double sum;
};

__device__ LogSum merge(LogSum a, LogSum b) {
  const float largest = fmaxf(a.largest, b.largest);
  return {largest, a.sum * static_cast<double>(expf(a.largest - largest)) +
                       b.sum * static_cast<double>(expf(b.largest - largest))};
}

// One read of the row: a thread rescales its sum when it meets a larger logit.
__device__ LogSum scan_row(const float* logits, int64_t vocab) {
  LogSum total{-FLT_MAX, 0};
  for (int64_t begin = threadIdx.x; begin < vocab; begin += kThreads * kUnroll) {
    float x[kUnroll];
    float largest = total.largest;
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) {
      const int64_t at = begin + j * kThreads;
      x[j] = at < vocab ? logits[at] : -INFINITY;
    }
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) largest = fmaxf(largest, x[j]);
    float sum = 0;
#pragma unroll
    for (int j = 0; j < kUnroll; ++j) sum += expf(x[j] - largest);
    total.sum =
        total.sum * static_cast<double>(expf(total.largest - largest)) + static_cast<double>(sum);
    total.largest = largest;
  }
  return total;
}

__global__ void __launch_bounds__(kThreads)
    nll_kernel(const float* logits, const int32_t* targets, double* nll, int64_t vocab) {
  __shared__ LogSum partial[kThreads / 32];
  const float* row = logits + blockIdx.x * vocab;
  LogSum sum = scan_row(row, vocab);
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    sum = merge(sum, {__shfl_xor_sync(0xffffffffu, sum.largest, offset),
                      __shfl_xor_sync(0xffffffffu, sum.sum, offset)});
  }
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kThreads / 32; ++warp) sum = merge(sum, partial[warp]);
  const int64_t target = min(max(static_cast<int64_t>(targets[blockIdx.x]), int64_t{0}), vocab - 1);
  nll[blockIdx.x] =
      static_cast<double>(sum.largest) - static_cast<double>(row[target]) + log(sum.sum);
}

}  // namespace

cudaError_t launch(const NllLaunch& p, cudaStream_t stream) {
  if (p.rows < 0 || p.rows > 0x7fffffff || p.vocab <= 0) return cudaErrorInvalidValue;
  if (p.rows == 0) return cudaSuccess;
  nll_kernel<<<static_cast<unsigned>(p.rows), kThreads, 0, stream>>>(p.logits, p.targets, p.nll,
                                                                     p.vocab);
  return cudaGetLastError();
}

}  // namespace kvg::cuda
