#pragma once

#include "kernels/cuda/codec/device_codec.h"
#include "kernels/cuda/codec/f32.cuh"
#include "kernels/cuda/codec/warp_eden.cuh"
#include "kernels/cuda/codec/warp_rotation.cuh"
#include "kernels/dtype.h"
#include "kernels/reference/codec_scale.h"

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

// One vector of kHeadDim by one warp: lane l holds coordinates [l n, (l + 1) n), n = kHeadDim / 32,
// in fp32 registers, and all 32 lanes take part. Codes are what the host's float methods write
// (kernels/codec.h), except that a coordinate within rounding of a threshold may fall on its other
// side and a scale may be the neighbouring fp16.
namespace kvg::cuda {

template <int kHeadDim>
__device__ inline void warp_encode_band(const DeviceCodec& codec,
                                        const float (&x)[kLaneWidth<kHeadDim>], uint8_t* codes) {
#pragma unroll
  for (int i = 0; i < kLaneWidth<kHeadDim>; ++i) {
    const int at = codec.band_index[lane_id() * kLaneWidth<kHeadDim> + i];
    if (at < 0) continue;
    if (codec.kind == CodecKind::f32) {
      store_f32(x[i], at, codec.band_count, codes);
    } else {
      reinterpret_cast<__nv_bfloat16*>(codes)[at] = __float2bfloat16_rn(x[i]);
    }
  }
}

template <int kHeadDim>
__device__ inline void warp_decode_band(const DeviceCodec& codec, const uint8_t* codes,
                                        float (&x)[kLaneWidth<kHeadDim>]) {
#pragma unroll
  for (int i = 0; i < kLaneWidth<kHeadDim>; ++i) {
    const int at = codec.band_index[lane_id() * kLaneWidth<kHeadDim> + i];
    x[i] = 0;
    if (at < 0) continue;
    x[i] = codec.kind == CodecKind::f32
               ? load_f32(codes, at, codec.band_count)
               : __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(codes)[at]);
  }
}

// The lane's coordinates as kLaneWidth words of one type.
template <typename Word, int kWidth>
__device__ inline LaneWords<Word, kWidth>* lane_words(uint8_t* codes) {
  return reinterpret_cast<LaneWords<Word, kWidth>*>(codes) + lane_id();
}

template <typename Word, int kWidth>
__device__ inline const LaneWords<Word, kWidth>* lane_words(const uint8_t* codes) {
  return reinterpret_cast<const LaneWords<Word, kWidth>*>(codes) + lane_id();
}

// The smallest fp16 scale with scale * largest >= absmax, where there is one; `largest` has few
// bits, so that the product is exact.
__device__ inline uint16_t scale_reaching(float absmax, float largest) {
  uint16_t bits = f16_scale(absmax / largest);
  if (__half2float(__ushort_as_half(bits)) * largest < absmax && bits < kF16Max) ++bits;
  return bits;
}

template <int kHeadDim>
__device__ inline void warp_encode_fp8(const DeviceCodec& codec,
                                       const float (&x)[kLaneWidth<kHeadDim>], uint8_t* codes,
                                       uint16_t* scale) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  float divisor = 1;
  if (codec.scaled) {
    float absmax = 0;
#pragma unroll
    for (int i = 0; i < kWidth; ++i) absmax = fmaxf(absmax, fabsf(x[i]));  // skips NaN
    absmax = warp_max(absmax);
    const uint16_t bits = scale_reaching(absmax, kE4m3Max);
    if (lane_id() == 0) *scale = bits;
    if (absmax > 0) divisor = __half2float(__ushort_as_half(bits));
  }
  LaneWords<uint8_t, kWidth> words;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    words.word[i] = __nv_cvt_float_to_fp8(x[i] / divisor, __NV_SATFINITE, __NV_E4M3);
  }
  *lane_words<uint8_t, kWidth>(codes) = words;
}

template <int kHeadDim>
__device__ inline void warp_encode_int8(const float (&x)[kLaneWidth<kHeadDim>], uint8_t* codes,
                                        uint16_t* scale) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  float absmax = 0;
  bool nan = false;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    nan = nan || isnan(x[i]);
    absmax = fmaxf(absmax, fabsf(x[i]));  // skips NaN
  }
  nan = __any_sync(0xffffffffu, nan);
  absmax = warp_max(absmax);
  const uint16_t bits = nan ? kF16NaN : scale_reaching(absmax, kInt8Max);
  if (lane_id() == 0) *scale = bits;
  const float divisor = absmax > 0 && !nan ? __half2float(__ushort_as_half(bits)) : 1.0f;
  LaneWords<uint8_t, kWidth> words;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float steps = fminf(fmaxf(x[i] / divisor, -kInt8Max), kInt8Max);
    words.word[i] = static_cast<uint8_t>(nan ? 0 : __float2int_rn(steps));
  }
  *lane_words<uint8_t, kWidth>(codes) = words;
}

// As bf16_of_e4m3 (codes.cuh), for one.
__device__ inline float float_of_e4m3(uint32_t code) {
  const float value = __uint_as_float((code & 0x80u) << 24 | (code & 0x7fu) << 20) * 0x1p120f;
  return (code & 0x7fu) == 0x7fu ? __uint_as_float(0x7fffffffu) : value;
}

// x -> codes [code_bytes], and *scale where the codec has one; both are the vector's own. The
// rotation is that of the codec and the site.
template <int kHeadDim>
__device__ inline void warp_encode(const DeviceCodec& codec, const WarpRotation<kHeadDim>& rotation,
                                   const float (&x)[kLaneWidth<kHeadDim>], uint8_t* codes,
                                   uint16_t* scale) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  if (codec.band_index != nullptr) return warp_encode_band<kHeadDim>(codec, x, codes);
  switch (codec.kind) {
    case CodecKind::f32: {
      LaneWords<float, kWidth> words;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) words.word[i] = x[i];
      store_f32(words, lane_id(), kHeadDim, codes);
      return;
    }
    case CodecKind::bf16: {
      LaneWords<uint16_t, kWidth> words;
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        words.word[i] = __bfloat16_as_ushort(__float2bfloat16_rn(x[i]));
      }
      *lane_words<uint16_t, kWidth>(codes) = words;
      return;
    }
    case CodecKind::fp8:
      return warp_encode_fp8<kHeadDim>(codec, x, codes, scale);
    case CodecKind::int8:
      return warp_encode_int8<kHeadDim>(x, codes, scale);
    case CodecKind::eden:
      return warp_encode_eden<kHeadDim>(codec, rotation, x, codes, scale);
  }
}

template <int kHeadDim>
__device__ inline void warp_encode(const DeviceCodec& codec, int layer, int kv_head, bool value,
                                   const float (&x)[kLaneWidth<kHeadDim>], uint8_t* codes,
                                   uint16_t* scale) {
  const WarpRotation<kHeadDim> rotation(codec, layer, kv_head, value);
  warp_encode<kHeadDim>(codec, rotation, x, codes, scale);
}

// The inverse, in the codec's own frame (warp_from_frame leads out of it), scale included.
template <int kHeadDim>
__device__ inline void warp_decode(const DeviceCodec& codec, const uint8_t* codes,
                                   const uint16_t* scale, float (&x)[kLaneWidth<kHeadDim>]) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  if (codec.band_index != nullptr) return warp_decode_band<kHeadDim>(codec, codes, x);
  const float factor = codec.scaled ? __half2float(__ushort_as_half(*scale)) : 1.0f;
  switch (codec.kind) {
    case CodecKind::f32: {
      const auto words = load_f32<kWidth>(codes, lane_id(), kHeadDim);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) x[i] = words.word[i];
      return;
    }
    case CodecKind::bf16: {
      const auto words = *lane_words<uint16_t, kWidth>(codes);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) {
        x[i] = __uint_as_float(static_cast<uint32_t>(words.word[i]) << 16);
      }
      return;
    }
    case CodecKind::fp8: {
      const auto words = *lane_words<uint8_t, kWidth>(codes);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) x[i] = factor * float_of_e4m3(words.word[i]);
      return;
    }
    case CodecKind::int8: {
      const auto words = *lane_words<int8_t, kWidth>(codes);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) x[i] = factor * static_cast<float>(words.word[i]);
      return;
    }
    case CodecKind::eden:
      return warp_decode_eden<kHeadDim>(codec, codes, factor, x);
  }
}

}  // namespace kvg::cuda
