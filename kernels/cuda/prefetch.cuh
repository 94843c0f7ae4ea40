#pragma once

#include <cstdint>

namespace kvg::cuda {

// `bytes` (a multiple of 16) from a 16-byte aligned address on into the second-level cache, by
// compute capability 9.0. Nothing waits for them.
__device__ inline void prefetch_l2(const void* from, int32_t bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes));
#endif
}

}  // namespace kvg::cuda
