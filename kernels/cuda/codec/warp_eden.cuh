#pragma once

#include "kernels/cuda/codec/device_codec.h"
#include "kernels/cuda/codec/warp_rotation.cuh"
#include "kernels/reference/codebook.h"
#include "kernels/reference/codec_scale.h"

#include <cstdint>

#include <cuda_fp16.h>

// eden (kernels/reference/codec_eden.h) of one vector by one warp, in fp32, laid out over lanes as
// in warp_rotation.cuh.
namespace kvg::cuda {

// Sum over the warp, the same in every lane.
__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(kWarp, value, offset);
  return value;
}

// Maximum over the warp; NaN is passed over.
__device__ inline float warp_max(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kWarp, value, offset));
  }
  return value;
}

// The nearest fp16 of a scale, saturated; NaN stays NaN.
__device__ inline uint16_t f16_scale(float scale) {
  if (isnan(scale)) return kF16NaN;
  return __half_as_ushort(__float2half_rn(fminf(scale, 65504.0f)));
}

// One plane of kBits-wide fields (kernels/reference/codec_packing.h), 4-byte aligned: every lane
// has the fields of its coordinates.
template <int kBits, int kWidth>
__device__ inline void store_plane(const uint32_t (&fields)[kWidth], uint8_t* plane) {
  constexpr int kLaneBits = kBits * kWidth;
  constexpr int kLanes = 32 / kLaneBits;
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) word |= fields[i] << (kBits * i);
  word <<= kLaneBits * (lane_id() % kLanes);
#pragma unroll
  for (int offset = 1; offset < kLanes; offset *= 2) {
    word |= __shfl_xor_sync(kWarp, word, offset);
  }
  if (lane_id() % kLanes == 0) reinterpret_cast<uint32_t*>(plane)[lane_id() / kLanes] = word;
}

template <int kBits, int kWidth>
__device__ inline void load_plane(const uint8_t* plane, uint32_t (&fields)[kWidth]) {
  constexpr int kLaneBits = kBits * kWidth;
  constexpr int kLanes = 32 / kLaneBits;
  const uint32_t word = reinterpret_cast<const uint32_t*>(plane)[lane_id() / kLanes] >>
                        (kLaneBits * (lane_id() % kLanes));
#pragma unroll
  for (int i = 0; i < kWidth; ++i) fields[i] = word >> (kBits * i) & ((1u << kBits) - 1);
}

// How well the quantised c fits z: <z, c> and |c|^2 of the whole vector.
struct WarpFit {
  float inner;
  float energy;
};

// Cells and signs of z. A coordinate on a threshold belongs to the outer cell; zero is positive.
template <int kBits, int kWidth>
__device__ inline WarpFit quantise(const float (&z)[kWidth], uint32_t (&cells)[kWidth],
                                   uint32_t (&signs)[kWidth]) {
  constexpr Codebook kBook = gaussian_codebook(kBits);
  float inner = 0;
  float energy = 0;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float magnitude = fabsf(z[i]);
    float value = static_cast<float>(kBook.magnitude[0]);
    cells[i] = 0;
    signs[i] = z[i] < 0.0f ? 1 : 0;
#pragma unroll
    for (size_t cell = 1; cell < static_cast<size_t>(kBook.cells()); ++cell) {
      const bool outside = magnitude >= static_cast<float>(kBook.threshold[cell - 1]);
      cells[i] += outside ? 1 : 0;
      value = outside ? static_cast<float>(kBook.magnitude[cell]) : value;
    }
    inner += value * magnitude;
    energy += value * value;
  }
  return {warp_sum(inner), warp_sum(energy)};
}

// Writes the codes of z.
template <int kBits, int kWidth>
__device__ inline WarpFit encode_coordinates(const float (&z)[kWidth], uint8_t* codes) {
  uint32_t cells[kWidth];
  uint32_t signs[kWidth];
  const WarpFit fit = quantise<kBits, kWidth>(z, cells, signs);
  if constexpr (kBits == 3) {
    store_plane<2, kWidth>(cells, codes);
    store_plane<1, kWidth>(signs, codes + kWidth * 32 / 4);
  } else {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) cells[i] |= signs[i] << (kBits - 1);
    store_plane<kBits, kWidth>(cells, codes);
  }
  return fit;
}

// s / |x| of a vector of kHeadDim coordinates, see EdenScale.
template <int kHeadDim>
__device__ inline float eden_scale(EdenScale scale, const WarpFit& fit) {
  const float root = sqrtf(static_cast<float>(kHeadDim));
  switch (scale) {
    case EdenScale::unbiased:
      return root / fit.inner;
    case EdenScale::s1:
      return 1.0f / root;
    case EdenScale::ls:
      return fit.inner / (fit.energy * root);
    case EdenScale::norm:
      return 1.0f / sqrtf(fit.energy);
  }
  return 0;
}

template <int kHeadDim>
__device__ inline void warp_encode_eden(const DeviceCodec& codec,
                                        const WarpRotation<kHeadDim>& rotation,
                                        const float (&x)[kLaneWidth<kHeadDim>], uint8_t* codes,
                                        uint16_t* scale) {
  constexpr int kWidth = kLaneWidth<kHeadDim>;
  float absmax = 0;
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    absmax = fmaxf(absmax, fabsf(x[i]));
    finite = finite && isfinite(x[i]);
  }
  absmax = warp_max(absmax);
  finite = __all_sync(kWarp, finite);
  // Squares of extreme coordinates would leave the range of fp32: they are moved by a power of 2.
  const float shift = absmax > 0x1p60f ? 0x1p-80f : (absmax < 0x1p-60f ? 0x1p100f : 1.0f);
  float z[kWidth];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    z[i] = x[i] * shift;
    squares += z[i] * z[i];
  }
  const float norm = sqrtf(warp_sum(squares));
  const bool plain = finite && absmax > 0;
  const float factor = sqrtf(static_cast<float>(kHeadDim)) / norm;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) z[i] = plain ? z[i] * factor : 0.0f;
  rotation.apply(z);
  WarpFit fit;
  switch (codec.bits) {
    case 1:
      fit = encode_coordinates<1>(z, codes);
      break;
    case 2:
      fit = encode_coordinates<2>(z, codes);
      break;
    case 3:
      fit = encode_coordinates<3>(z, codes);
      break;
    default:
      fit = encode_coordinates<4>(z, codes);
  }
  if (lane_id() != 0) return;
  const float s = norm * eden_scale<kHeadDim>(codec.scale, fit) / shift;
  *scale = plain ? f16_scale(s) : (finite ? uint16_t{0} : kF16NaN);
}

template <int kBits, int kWidth>
__device__ inline void decode_coordinates(const uint8_t* codes, float scale, float (&x)[kWidth]) {
  constexpr Codebook kBook = gaussian_codebook(kBits);
  uint32_t fields[kWidth];
  uint32_t signs[kWidth] = {};
  if constexpr (kBits == 3) {
    load_plane<2, kWidth>(codes, fields);
    load_plane<1, kWidth>(codes + kWidth * 32 / 4, signs);
  } else {
    load_plane<kBits, kWidth>(codes, fields);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      signs[i] = fields[i] >> (kBits - 1);
      fields[i] &= (1u << (kBits - 1)) - 1;
    }
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    float value = static_cast<float>(kBook.magnitude[0]);
#pragma unroll
    for (size_t cell = 1; cell < static_cast<size_t>(kBook.cells()); ++cell) {
      value = fields[i] >= cell ? static_cast<float>(kBook.magnitude[cell]) : value;
    }
    x[i] = scale * (signs[i] ? -value : value);
  }
}

template <int kHeadDim>
__device__ inline void warp_decode_eden(const DeviceCodec& codec, const uint8_t* codes, float scale,
                                        float (&x)[kLaneWidth<kHeadDim>]) {
  switch (codec.bits) {
    case 1:
      return decode_coordinates<1>(codes, scale, x);
    case 2:
      return decode_coordinates<2>(codes, scale, x);
    case 3:
      return decode_coordinates<3>(codes, scale, x);
    default:
      return decode_coordinates<4>(codes, scale, x);
  }
}

}  // namespace kvg::cuda
