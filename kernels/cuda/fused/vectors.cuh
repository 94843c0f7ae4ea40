#pragma once

#include <cstdint>

#include <cuda_bf16.h>

namespace kvg::cuda {

// Eight elements, moved by 16-byte accesses and computed in fp32.
struct Eight {
  float v[8];
};

__device__ inline Eight load_eight(const float* from) {
  const float4 a = reinterpret_cast<const float4*>(from)[0];
  const float4 b = reinterpret_cast<const float4*>(from)[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ inline Eight load_eight(const __nv_bfloat16* from) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&raw);
  Eight out;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __bfloat1622float2(pairs[i]);
    out.v[2 * i] = pair.x;
    out.v[2 * i + 1] = pair.y;
  }
  return out;
}

// Stores, and returns what was stored: rounded to the element type.
__device__ inline Eight store_eight(float* to, const Eight& x) {
  reinterpret_cast<float4*>(to)[0] = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
  reinterpret_cast<float4*>(to)[1] = make_float4(x.v[4], x.v[5], x.v[6], x.v[7]);
  return x;
}

__device__ inline Eight store_eight(__nv_bfloat16* to, const Eight& x) {
  uint4 raw;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&raw);
  Eight rounded;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    pairs[i] = __floats2bfloat162_rn(x.v[2 * i], x.v[2 * i + 1]);
    const float2 pair = __bfloat1622float2(pairs[i]);
    rounded.v[2 * i] = pair.x;
    rounded.v[2 * i + 1] = pair.y;
  }
  *reinterpret_cast<uint4*>(to) = raw;
  return rounded;
}

}  // namespace kvg::cuda
