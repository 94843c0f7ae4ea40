#pragma once

#include "kernels/cuda/codec/codes.cuh"

#include <cstdint>

// Stored codes in shared memory straight to operands of mma, for the codecs that pack coordinates
// densely (eden, fp8, int8). Which of the summed coordinates, or of the rows of a product, a
// register holds is free as long as both sides agree; so a lane reads neighbouring ones.
namespace kvg::cuda {

// 1, 2, 4, 8, 16 or 32 bytes of shared memory as words, aligned to themselves (32: to 16).
template <int kBytes>
__device__ inline void load_shared(uint32_t address, uint32_t (&out)[(kBytes + 3) / 4]) {
  if constexpr (kBytes == 1) {
    asm volatile("ld.shared.u8 %0, [%1];" : "=r"(out[0]) : "r"(address));
  } else if constexpr (kBytes == 2) {
    asm volatile("{ .reg .u16 h; ld.shared.u16 h, [%1]; cvt.u32.u16 %0, h; }"
                 : "=r"(out[0])
                 : "r"(address));
  } else if constexpr (kBytes == 4) {
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(out[0]) : "r"(address));
  } else if constexpr (kBytes == 8) {
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(out[0]), "=r"(out[1]) : "r"(address));
  } else {
    static_assert(kBytes % 16 == 0);
#pragma unroll
    for (int i = 0; i < kBytes / 16; ++i) {
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(out[4 * i]), "=r"(out[4 * i + 1]), "=r"(out[4 * i + 2]),
                     "=r"(out[4 * i + 3])
                   : "r"(address + 16 * i));
    }
  }
}

// kEights times eight neighbouring coordinates of one vector.
//   load(row, first): from eight number `first` of the vector at `row`
//   eight(e): as four registers, lower coordinate first
//   pairs(other, e): coordinate i of this and of another vector in register i
template <int kHeadDim, int kBits, int kEights>
struct EdenRow {
  static constexpr int kPlane = kBits == 3 ? 2 : kBits;
  uint32_t fields[(kEights * kPlane + 3) / 4];
  uint32_t signs[(kEights + 3) / 4];  // 3 bits

  __device__ void load(uint32_t row, int first) {
    load_shared<kEights * kPlane>(row + first * kPlane, fields);
    if constexpr (kBits == 3) load_shared<kEights>(row + kHeadDim / 4 + first, signs);
  }
  // One a nibble.
  __device__ uint32_t nibbles(int e) const {
    if constexpr (kBits == 4) return fields[e];
    if constexpr (kBits == 1) return spread_bits(fields[e / 4] >> (8 * (e % 4)));
    const uint32_t pairs = spread_pairs(fields[e / 2] >> (16 * (e % 2)));
    if constexpr (kBits == 3) return pairs | spread_bits(signs[e / 4] >> (8 * (e % 4))) << 2;
    return pairs;
  }
  __device__ uint4 eight(int e) const { return centroids<kBits>(nibbles(e)); }
  __device__ void pairs(const EdenRow& other, int e, uint32_t (&out)[8]) const {
    const uint32_t a = nibbles(e);
    const uint32_t b = other.nibbles(e);
    const uint4 even = centroids<kBits>((a & 0x0f0f0f0fu) | (b & 0x0f0f0f0fu) << 4);
    const uint4 odd = centroids<kBits>((a >> 4 & 0x0f0f0f0fu) | (b & 0xf0f0f0f0u));
    out[0] = even.x;
    out[1] = odd.x;
    out[2] = even.y;
    out[3] = odd.y;
    out[4] = even.z;
    out[5] = odd.z;
    out[6] = even.w;
    out[7] = odd.w;
  }
};

// convert(word): four stored bytes as bf16, lower coordinate first.
struct Fp8Bytes {
  __device__ static uint2 convert(uint32_t word) { return bf16_of_e4m3(word); }
};
struct Int8Bytes {
  __device__ static uint2 convert(uint32_t word) { return bf16_of_int8(word); }
};

template <typename Bytes, int kEights>
struct ByteRow {
  uint32_t words[2 * kEights];

  __device__ void load(uint32_t row, int first) {
    load_shared<8 * kEights>(row + static_cast<uint32_t>(8 * first), words);
  }
  __device__ uint4 eight(int e) const {
    const uint2 low = Bytes::convert(words[2 * e]);
    const uint2 high = Bytes::convert(words[2 * e + 1]);
    return make_uint4(low.x, low.y, high.x, high.y);
  }
  __device__ void pairs(const ByteRow& other, int e, uint32_t (&out)[8]) const {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const uint32_t a = words[2 * e + i];
      const uint32_t b = other.words[2 * e + i];
      const uint2 low = Bytes::convert(prmt(a, b, 0x5140u));
      const uint2 high = Bytes::convert(prmt(a, b, 0x7362u));
      out[4 * i] = low.x;
      out[4 * i + 1] = low.y;
      out[4 * i + 2] = high.x;
      out[4 * i + 3] = high.y;
    }
  }
};

}  // namespace kvg::cuda
