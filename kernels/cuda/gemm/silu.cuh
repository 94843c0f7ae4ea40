#pragma once

namespace kvg::cuda {

// silu(gate) * up. An exact division has a slow path, for which each would wait for the one before.
__device__ __forceinline__ float silu_gated(float gate, float up) {
  return __fdividef(gate, 1.0f + __expf(-gate)) * up;
}

}  // namespace kvg::cuda
