#pragma once

#include "base/random.h"
#include "kernels/dtype.h"

#include <cstdint>

#include <cuda_runtime_api.h>

namespace kvg {

// Element i of a random tensor: uniform in [offset - scale, offset + scale). A function of (seed,
// i), so that host and device draw the same. Zeros would run faster than real numbers do.
constexpr float uniform_value(uint64_t seed, uint64_t i, float scale, float offset) {
  const auto bits = static_cast<uint32_t>(splitmix64(splitmix64(seed) ^ i) >> 40);
  return offset + scale * (static_cast<float>(bits) * 0x1p-23f - 1.0f);
}

// The same on the device; bf16 or f32.
cudaError_t fill_uniform(void* to, DType type, int64_t elements, uint64_t seed, float scale,
                         float offset, cudaStream_t stream);

}  // namespace kvg
