#pragma once

#include "kernels/cuda/codec/device_codec.h"
#include "kernels/cuda/codec/warp_rotation.cuh"
#include "kernels/reference/rotation.h"

#include <cstdint>

// Rotations (kernels/reference/rotation.h) of 16 rows at a time, as the accumulators of
// mma.m16n8k16 hold them: lane 4 g + t has columns 8 n + 2 t + {0, 1} of rows g and g + 8. A
// Hadamard transform then needs other lanes for two of its stages only.
namespace kvg::cuda {

template <int kHeadDim>
class TileRotation {
 public:
  static constexpr int kTiles = kHeadDim / 8;
  using Values = float[kTiles][2];

  __device__ TileRotation(const DeviceCodec& codec, int layer, int kv_head, bool value)
      : codec_(codec), site_{layer, kv_head, value} {
    if (codec.rotation == Rotation::haar) return;
    signs_[0] = lane_signs(rotation_stream(codec.seed, site_, 0));
    signs_[1] = lane_signs(rotation_stream(codec.seed, site_, 1));
  }

  // x <- P x for every row if `into`, else P^T x. `scratch` [8, kHeadDim] is the warp's own.
  __device__ void apply(Values& x, bool into, float* scratch) const {
    if (codec_.rotation == Rotation::haar) return apply_rows(x, into, scratch);
    const bool two = codec_.rotation == Rotation::hdhd;
    const float norm = two ? 1.0f / kHeadDim : rsqrtf(static_cast<float>(kHeadDim));
    if (into) flip(x, signs_[0], norm);
    if (two) {
      hadamard(x);
      flip(x, signs_[1], 1.0f);
    }
    hadamard(x);
    if (!into) flip(x, signs_[0], norm);
  }

 private:
  // Bit 2 n + i: the lane's column 8 n + 2 t + i changes its sign.
  __device__ static uint32_t lane_signs(uint64_t stream) {
    uint32_t signs = 0;
#pragma unroll
    for (int word = 0; word < kHeadDim / 64; ++word) {
      const uint64_t all = rotation_sign_word(stream, static_cast<uint64_t>(word));
      const uint64_t own = all >> (2 * (lane_id() % 4));
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        signs |= static_cast<uint32_t>(own >> (8 * n) & 3) << (2 * n + 16 * word);
      }
    }
    return signs;
  }

  __device__ static void flip(Values& x, uint32_t signs, float factor) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) x[n][i] *= signs >> (2 * n + i) & 1 ? -factor : factor;
    }
  }

  __device__ static void butterfly(float& a, float& b) {
    const float difference = a - b;
    a += b;
    b = difference;
  }

  __device__ static void hadamard(Values& x) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) butterfly(x[n][0], x[n][1]);
#pragma unroll
    for (int half = 1; half < kTiles; half *= 2) {
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
        if (n & half) continue;
#pragma unroll
        for (int i = 0; i < 2; ++i) butterfly(x[n][i], x[n + half][i]);
      }
    }
#pragma unroll
    for (int half = 1; half <= 2; half *= 2) {
      const float sign = lane_id() & half ? -1.0f : 1.0f;
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          x[n][i] = fmaf(sign, x[n][i], __shfl_xor_sync(kWarp, x[n][i], half));
        }
      }
    }
  }

  // Dense matrices: row by row.
  __device__ void apply_rows(Values& x, bool into, float* scratch) const {
    const WarpRotation<kHeadDim> rotation(codec_, site_.layer, site_.kv_head, site_.value);
    float2* own = reinterpret_cast<float2*>(scratch + lane_id() / 4 * kHeadDim) + lane_id() % 4;
#pragma unroll
    for (int n = 0; n < kTiles; ++n) own[4 * n] = make_float2(x[n][0], x[n][1]);
    __syncwarp();
#pragma unroll 1
    for (int row = 0; row < 8; ++row) {
      float* lane = scratch + row * kHeadDim + lane_id() * kLaneWidth<kHeadDim>;
      float y[kLaneWidth<kHeadDim>];
#pragma unroll
      for (int i = 0; i < kLaneWidth<kHeadDim>; ++i) y[i] = lane[i];
      if (into) {
        rotation.apply(y);
      } else {
        rotation.apply_transposed(y);
      }
#pragma unroll
      for (int i = 0; i < kLaneWidth<kHeadDim>; ++i) lane[i] = y[i];
    }
    __syncwarp();
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      x[n][0] = own[4 * n].x;
      x[n][1] = own[4 * n].y;
    }
    __syncwarp();
  }

  const DeviceCodec& codec_;
  CodecSite site_;
  uint32_t signs_[2] = {};
};

}  // namespace kvg::cuda
