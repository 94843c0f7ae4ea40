#pragma once

#include "kernels/cuda/codec/device_codec.h"
#include "kernels/dtype.h"
#include "kernels/reference/codebook.h"

#include <cstdint>

#include <cuda_bf16.h>

// Codes of neighbouring coordinates to bf16, several at a time in registers: a byte table of
// centroids fits two registers, and prmt looks four bytes up at once.
namespace kvg::cuda {

// Four bytes out of the eight of b:a; each nibble of the lower half of `selector` names one (0..7).
// With bit 3 of the nibble set, the byte's sign bit fills the whole byte.
__device__ inline uint32_t prmt(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t out;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(out) : "r"(a), "r"(b), "r"(selector));
  return out;
}

// The bf16 values of codes 0..7 of a codebook, lower and upper bytes apart: byte i of b:a is code
// i's. With 4 bits the table has the magnitudes, and bit 3 of a code is the sign.
struct CentroidBytes {
  uint32_t low_a, low_b, high_a, high_b;
};

template <int kBits>
constexpr CentroidBytes centroid_bytes() {
  const Codebook& book = gaussian_codebook(kBits);
  CentroidBytes bytes{};
  for (int code = 0; code < 8 && code < 1 << kBits; ++code) {
    const auto cell = static_cast<size_t>(code & (book.cells() - 1));
    const bool negative = (code & book.cells()) != 0;
    const uint16_t value =
        float_to_bf16(static_cast<float>(negative ? -book.magnitude[cell] : book.magnitude[cell]));
    const int shift = 8 * (code % 4);
    (code < 4 ? bytes.low_a : bytes.low_b) |= static_cast<uint32_t>(value & 0xff) << shift;
    (code < 4 ? bytes.high_a : bytes.high_b) |= static_cast<uint32_t>(value >> 8) << shift;
  }
  return bytes;
}

// Eight codes, one a nibble, the first in the lowest -> their centroids.
template <int kBits>
__device__ inline uint4 centroids(uint32_t nibbles) {
  constexpr CentroidBytes kBytes = centroid_bytes<kBits>();
  uint32_t words[4];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint32_t codes = nibbles >> (16 * half);
    const uint32_t cells = kBits == 4 ? codes & 0x7777u : codes;
    const uint32_t low = prmt(kBytes.low_a, kBytes.low_b, cells);
    uint32_t high = prmt(kBytes.high_a, kBytes.high_b, cells);
    if constexpr (kBits == 4) {
      // 0x7f, or 0 where the sign is set; so one place further up stands its complement.
      const uint32_t positive = prmt(0x7f7f7f7fu, 0x7f7f7f7fu, codes) << 1;
      high |= ~positive & 0x80808080u;
    }
    words[2 * half] = prmt(low, high, 0x5140u);
    words[2 * half + 1] = prmt(low, high, 0x7362u);
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Eight 2-bit fields, lowest first, each moved to a nibble of its own.
__device__ inline uint32_t spread_pairs(uint32_t fields) {
  uint32_t x = fields & 0xffffu;
  x = (x | x << 8) & 0x00ff00ffu;
  x = (x | x << 4) & 0x0f0f0f0fu;
  return (x | x << 2) & 0x33333333u;
}

// The same for eight bits.
__device__ inline uint32_t spread_bits(uint32_t bits) {
  uint32_t x = bits & 0xffu;
  x = (x | x << 12) & 0x000f000fu;
  x = (x | x << 6) & 0x03030303u;
  return (x | x << 3) & 0x11111111u;
}

// 32 coordinates of one eden vector as the codes lie in memory (kernels/reference/codec_packing.h).
template <int kBits>
struct EdenCodes {
  uint32_t words[kBits];

  // `codes` of the vector; the coordinates are 32 part .. 32 part + 31.
  template <int kHeadDim>
  __device__ static EdenCodes load(const uint8_t* codes, int part) {
    EdenCodes out;
    if constexpr (kBits == 4) {
      const uint4 raw = reinterpret_cast<const uint4*>(codes)[part];
      out.words[0] = raw.x;
      out.words[1] = raw.y;
      out.words[2] = raw.z;
      out.words[3] = raw.w;
    } else if constexpr (kBits == 1) {
      out.words[0] = reinterpret_cast<const uint32_t*>(codes)[part];
    } else {
      const uint2 raw = reinterpret_cast<const uint2*>(codes)[part];
      out.words[0] = raw.x;
      out.words[1] = raw.y;
      if constexpr (kBits == 3) {
        out.words[2] = reinterpret_cast<const uint32_t*>(codes + kHeadDim / 4)[part];
      }
    }
    return out;
  }

  // Eight of them, 8 eight .. 8 eight + 7, a nibble each. `eight` is known when compiling.
  __device__ uint32_t nibbles(int eight) const {
    if constexpr (kBits == 4) return words[eight];
    if constexpr (kBits == 1) return spread_bits(words[0] >> (8 * eight));
    const uint32_t pairs = spread_pairs(words[eight / 2] >> (16 * (eight % 2)));
    if constexpr (kBits == 3) return pairs | spread_bits(words[2] >> (8 * eight)) << 2;
    return pairs;
  }
};

// Four fp8 e4m3 -> bf16, exact, NaN included. The bits of an e4m3 number, moved to where bf16 has
// them, are the number times 2^-120 (subnormal numbers too).
__device__ inline uint2 bf16_of_e4m3(uint32_t codes) {
  const __nv_bfloat162 scale = __float2bfloat162_rn(0x1p120f);
  uint32_t words[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t bytes = prmt(codes, 0, i == 0 ? 0x1404u : 0x3424u);
    const uint32_t bits = (bytes & 0x7f007f00u) >> 4 | (bytes & 0x80008000u);
    const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits), scale);
    words[i] = *reinterpret_cast<const uint32_t*>(&value);
  }
  const uint32_t nan = ((codes & 0x7f7f7f7fu) + 0x01010101u) & 0x80808080u;
  if (nan != 0) {
    words[0] |= (nan & 0x80u ? 0x7fffu : 0u) | (nan & 0x8000u ? 0x7fff0000u : 0u);
    words[1] |= (nan & 0x800000u ? 0x7fffu : 0u) | (nan & 0x80000000u ? 0x7fff0000u : 0u);
  }
  return make_uint2(words[0], words[1]);
}

// Four int8 of a word as bf16, exact: numbers 0 and 2, 1 and 3. With m the lower seven bits of one
// and s its sign, the integer is m - 128 s = (128 + m) - (128 + 128 s), and 0x4300 + m is 128 + m
// as bf16 for m < 128, 0x4380 is 256.
__device__ inline uint2 bf16_of_int8_apart(uint32_t codes) {
  constexpr uint32_t k128 = 0x43004300u, kMagnitude = 0x007f007fu, kSign = 0x00800080u;
  uint32_t out[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t bytes = i == 0 ? codes : codes >> 8;
    const uint32_t above = (bytes & kMagnitude) | k128;
    const uint32_t base = (bytes & kSign) | k128;
    const __nv_bfloat162 value = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&above),
                                         *reinterpret_cast<const __nv_bfloat162*>(&base));
    out[i] = *reinterpret_cast<const uint32_t*>(&value);
  }
  return make_uint2(out[0], out[1]);
}

// The same in order: numbers 0 and 1, 2 and 3.
__device__ inline uint2 bf16_of_int8(uint32_t codes) {
  return bf16_of_int8_apart(prmt(codes, 0, 0x3120u));
}

}  // namespace kvg::cuda
