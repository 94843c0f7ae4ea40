#include "kernels/cuda/fused/copy.h"

#include <algorithm>

namespace kvg::cuda {

namespace {

constexpr int kThreads = 256;

// blockIdx.y = index of the copy.
__global__ void __launch_bounds__(kThreads) copies_kernel(const __grid_constant__ CopyLaunch p) {
  const CopyLaunch::Copy& copy = p.copies[blockIdx.y];
  const auto* from = static_cast<const uint32_t*>(copy.from);
  auto* to = static_cast<uint32_t*>(copy.to);
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < copy.words;
       i += int64_t{gridDim.x} * kThreads) {
    to[i] = from[i];
  }
}

}  // namespace

cudaError_t launch(const CopyLaunch& p, cudaStream_t stream) {
  if (p.count < 0 || p.count > kMostCopies) return cudaErrorInvalidValue;
  int64_t most = 0;
  for (int i = 0; i < p.count; ++i) {
    if (p.copies[i].words < 0) return cudaErrorInvalidValue;
    most = std::max(most, p.copies[i].words);
  }
  if (most == 0) return cudaSuccess;
  constexpr int64_t kMaxBlocks = 1024;
  const int64_t blocks = std::min((most + kThreads - 1) / kThreads, kMaxBlocks);
  copies_kernel<<<dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(p.count)), kThreads, 0,
                  stream>>>(p);
  return cudaGetLastError();
}

}  // namespace kvg::cuda
