#pragma once

#include <cstdint>

namespace kvg::cuda {

// The address of something in shared memory, as instructions take it.
__device__ __forceinline__ uint32_t shared_u32(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace kvg::cuda
