#pragma once

#include "kernels/cuda/codec/warp.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// Vectors of one warp (kernels/cuda/codec/warp.cuh: a lane has kLaneWidth neighbouring
// coordinates), in the arithmetic of the bank update.
namespace kvg::cuda {

// One operation's result in the arithmetic that the rules ask for.
struct Rounding {
  bool bf16 = false;
  __device__ float operator()(float x) const {
    return bf16 ? __bfloat162float(__float2bfloat16_rn(x)) : x;
  }
};

// A lane's coordinates, by value.
template <int kDim>
struct LaneVector {
  float at[kLaneWidth<kDim>];
  __device__ float& operator[](int i) { return at[i]; }
  __device__ float operator[](int i) const { return at[i]; }
};

// The codecs, called rather than inlined: they are long, and are needed in many places.
template <int kDim>
__device__ __noinline__ LaneVector<kDim> decode_vector(const DeviceCodec& codec,
                                                       const uint8_t* codes,
                                                       const uint16_t* scale) {
  LaneVector<kDim> x;
  warp_decode<kDim>(codec, codes, scale, x.at);
  return x;
}
template <int kDim>
__device__ __noinline__ void encode_vector(const DeviceCodec& codec, const CodecSite& site,
                                           LaneVector<kDim> x, uint8_t* codes, uint16_t* scale) {
  warp_encode<kDim>(codec, site.layer, site.kv_head, site.value, x.at, codes, scale);
}
template <int kDim>
__device__ __noinline__ LaneVector<kDim> rotate_vector(const DeviceCodec& codec,
                                                       const CodecSite& site, LaneVector<kDim> x,
                                                       bool back) {
  const WarpRotation<kDim> rotation(codec, site.layer, site.kv_head, site.value);
  if (back) {
    rotation.apply_transposed(x.at);
  } else {
    rotation.apply(x.at);
  }
  return x;
}

// x <- x / max(|x|, 1e-6)
template <int kDim>
__device__ inline void warp_normalize(Rounding round, LaneVector<kDim>& x) {
  constexpr int kWidth = kLaneWidth<kDim>;
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) squares += x[i] * x[i];
  const float norm = round(fmaxf(sqrtf(warp_sum(squares)), 1e-6f));
#pragma unroll
  for (int i = 0; i < kWidth; ++i) x[i] = round(x[i] / norm);
}

// A vector into a row of shared memory (16-byte aligned).
template <int kDim>
__device__ inline void store_lanes(float* row, const LaneVector<kDim>& x) {
  if constexpr (kDim == 128) {
    reinterpret_cast<float4*>(row)[lane_id()] = make_float4(x[0], x[1], x[2], x[3]);
  } else {
    reinterpret_cast<float2*>(row)[lane_id()] = make_float2(x[0], x[1]);
  }
}

// Resident unit vectors [width] of LandmarkBank: bf16 when the arithmetic is, f32 otherwise.
__device__ inline float resident_element(const void* unit, int64_t i, Rounding round) {
  return round.bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(unit)[i])
                    : static_cast<const float*>(unit)[i];
}
__device__ inline void set_resident_element(void* unit, int64_t i, Rounding round, float x) {
  if (round.bf16) {
    static_cast<__nv_bfloat16*>(unit)[i] = __float2bfloat16_rn(x);
  } else {
    static_cast<float*>(unit)[i] = x;
  }
}

}  // namespace kvg::cuda
