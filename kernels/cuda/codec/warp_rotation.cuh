#pragma once

#include "kernels/cuda/codec/device_codec.h"
#include "kernels/reference/rotation.h"

#include <cstdint>

// Rotations (kernels/reference/rotation.h) of one vector by one warp, in fp32. Lane l holds
// coordinates [l n, (l + 1) n), n = kHeadDim / 32, in registers. All 32 lanes take part in every
// function.
namespace kvg::cuda {

inline constexpr uint32_t kWarp = 0xffffffffu;

template <int kHeadDim>
inline constexpr int kLaneWidth = kHeadDim / 32;

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x % 32); }

// x <- H x, not normalised: H H = kHeadDim.
template <int kHeadDim>
__device__ inline void warp_hadamard(float (&x)[kLaneWidth<kHeadDim>]) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
#pragma unroll
  for (int half = 1; half < kWidth; half *= 2) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (i & half) continue;
      const float a = x[i];
      const float b = x[i + half];
      x[i] = a + b;
      x[i + half] = a - b;
    }
  }
#pragma unroll
  for (int half = 1; half < 32; half *= 2) {
    const bool upper = lane_id() & half;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      const float other = __shfl_xor_sync(kWarp, x[i], half);
      x[i] = upper ? other - x[i] : x[i] + other;
    }
  }
}

// The rotation of one site, as much of it as one lane needs. Worth keeping for as long as the site
// stays the same: the signs cost about a hundred instructions.
template <int kHeadDim>
class WarpRotation {
 public:
  using Values = float[kLaneWidth<kHeadDim>];

  __device__ WarpRotation(const DeviceCodec& codec, int layer, int kv_head, bool value)
      : kind_(codec.rotation), active_(codec.rotates) {
    if (!active_) return;
    if (kind_ == Rotation::haar) {
      const int64_t site = (int64_t{layer} * codec.haar_heads + kv_head) * 2 + (value ? 1 : 0);
      matrix_ = codec.haar + site * kHeadDim * kHeadDim;
      return;
    }
    const CodecSite site{layer, kv_head, value};
    signs_[0] = lane_signs(rotation_stream(codec.seed, site, 0));
    if (kind_ == Rotation::hdhd) signs_[1] = lane_signs(rotation_stream(codec.seed, site, 1));
  }

  // x <- P x
  __device__ void apply(Values& x) const {
    if (!active_) return;
    if (kind_ == Rotation::haar) return multiply(x);
    flip(x, signs_[0], norm());
    warp_hadamard<kHeadDim>(x);
    if (kind_ == Rotation::hd) return;
    flip(x, signs_[1], 1.0f);
    warp_hadamard<kHeadDim>(x);
  }

  // x <- P^T x
  __device__ void apply_transposed(Values& x) const {
    if (!active_) return;
    if (kind_ == Rotation::haar) return multiply_transposed(x);
    if (kind_ == Rotation::hdhd) {
      warp_hadamard<kHeadDim>(x);
      flip(x, signs_[1], 1.0f);
    }
    warp_hadamard<kHeadDim>(x);
    flip(x, signs_[0], norm());
  }

 private:
  static constexpr int kWidth = kLaneWidth<kHeadDim>;

  // Bit i: the lane's coordinate i changes its sign.
  __device__ static uint32_t lane_signs(uint64_t stream) {
    const int begin = lane_id() * kWidth;
    const uint64_t word = rotation_sign_word(stream, static_cast<uint64_t>(begin / 64));
    return static_cast<uint32_t>(word >> (begin % 64)) & ((1u << kWidth) - 1);
  }
  __device__ float norm() const {
    return kind_ == Rotation::hdhd ? 1.0f / kHeadDim : rsqrtf(static_cast<float>(kHeadDim));
  }
  __device__ static void flip(Values& x, uint32_t signs, float factor) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) x[i] *= signs >> i & 1 ? -factor : factor;
  }
  __device__ void multiply(Values& x) const {
    Values y = {};
    for (int column = 0; column < kHeadDim; column += kWidth) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const float factor = __shfl_sync(kWarp, x[j], column / kWidth);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          y[i] += matrix_[(lane_id() * kWidth + i) * kHeadDim + column + j] * factor;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) x[i] = y[i];
  }
  __device__ void multiply_transposed(Values& x) const {
    Values y = {};
    for (int row = 0; row < kHeadDim; row += kWidth) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        const float factor = __shfl_sync(kWarp, x[j], row / kWidth);
#pragma unroll
        for (int i = 0; i < kWidth; ++i) {
          y[i] += matrix_[(row + j) * kHeadDim + lane_id() * kWidth + i] * factor;
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kWidth; ++i) x[i] = y[i];
  }

  Rotation kind_;
  bool active_;
  uint32_t signs_[2] = {};
  const float* matrix_ = nullptr;
};

// x <- P x, into the codec's frame; nothing when it does not rotate.
template <int kHeadDim>
__device__ inline void warp_to_frame(const DeviceCodec& codec, int layer, int kv_head, bool value,
                                     float (&x)[kLaneWidth<kHeadDim>]) {
  WarpRotation<kHeadDim>(codec, layer, kv_head, value).apply(x);
}

// x <- P^T x, back.
template <int kHeadDim>
__device__ inline void warp_from_frame(const DeviceCodec& codec, int layer, int kv_head, bool value,
                                       float (&x)[kLaneWidth<kHeadDim>]) {
  WarpRotation<kHeadDim>(codec, layer, kv_head, value).apply_transposed(x);
}

}  // namespace kvg::cuda
