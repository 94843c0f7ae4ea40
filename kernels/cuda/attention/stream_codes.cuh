#pragma once

#include "kernels/cuda/attention/codec_sets.cuh"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/decode_codes.cuh"
#include "kernels/cuda/codec/codes.cuh"

#include <cstdint>

// Stored codes in registers to operands of mma, where a whole cache has one dense codec: the inner
// loops of decode_stream.cuh, which the number of instructions a coordinate bounds.
//
// Which of the summed coordinates, or of the rows of a product, a register holds is free as long as
// both sides agree; so a lane has neighbouring ones (query_fragments of decode_kernel.cuh, keep of
// decode_join.cuh).
namespace kvg::cuda {

// eden of 2 or 4 bits by table: the index is two codes, the entry their two centroids as bf16.
// Every lane has a copy of the table in a bank of its own, so lookups never meet: kEntries x 32
// words.
template <int kHeadDim, int kBits>
struct EdenStream {
  using Codec = EdenCodec<kBits>;
  static constexpr int kTiles = 2;  // of 16 slots a step
  static constexpr int kCodeBytes = kHeadDim * kBits / 8;
  static constexpr int kKeyBytes = kCodeBytes / 4;
  static constexpr int kValueBytes = kCodeBytes / 8;
  static constexpr int kEntries = 1 << (2 * kBits);
  static constexpr int kTableBytes = kEntries * 128;
  static constexpr bool kScaled = true;
  static constexpr bool kNatural = true;  // pairs of neighbouring coordinates

  uint32_t own;  // this lane's bank of the table

  __device__ EdenStream(const uint8_t* table, int lane)
      : own(shared_u32(table) + 4 * static_cast<uint32_t>(lane)) {}

  // By all threads of the block.
  __device__ static void make_table(uint8_t* table, int warp, int warps, int lane) {
    constexpr uint32_t kCode = (1u << kBits) - 1;
    for (int entry = warp; entry < kEntries; entry += warps) {
      const auto codes = static_cast<uint32_t>(entry);
      const uint32_t nibbles = (codes & kCode) | (codes >> kBits) << 4;
      reinterpret_cast<uint32_t*>(table)[entry * 32 + lane] = centroids<kBits>(nibbles).x;
    }
  }

  // Pair `at` of the codes in a word; known when compiling. One instruction extracts a byte, and
  // the address is a product and a sum, for which the pipe of floating point has room.
  __device__ uint32_t pair(uint32_t word, int at) const {
    uint32_t entry = 0;
    if constexpr (kBits == 4) {
      entry = prmt(word, 0, 0x4440u + static_cast<uint32_t>(at));
    } else {
      const uint32_t bytes = (at % 2 == 0 ? word : word >> 4) & 0x0f0f0f0fu;
      entry = prmt(bytes, 0, 0x4440u + static_cast<uint32_t>(at / 2));
    }
    uint32_t out[1];
    load_shared<4>(own + 128 * entry, out);
    return out[0];
  }

  template <int kColumns>
  __device__ void multiply_keys(const uint32_t (&upper)[(kKeyBytes + 3) / 4],
                                const uint32_t (&lower)[(kKeyBytes + 3) / 4],
                                const QueryFragments<kHeadDim, kColumns>& q,
                                float (&logits)[kColumns][4]) const {
    constexpr int kOfWord = 16 / kBits;  // pairs
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
      const int word = 2 * k / kOfWord;
      const int at = 2 * k % kOfWord;
      const uint32_t a[4] = {pair(upper[word], at), pair(lower[word], at),
                             pair(upper[word], at + 1), pair(lower[word], at + 1)};
#pragma unroll
      for (int c = 0; c < kColumns; ++c) mma_m16n8k16(logits[c], a, q[k][c][0], q[k][c][1]);
    }
  }

  // Rows are slots; the codes of two of them are brought together coordinate by coordinate.
  template <int kColumns>
  __device__ void multiply_values(const uint32_t (&rows)[4][(kValueBytes + 3) / 4],
                                  const uint32_t (&weights)[kColumns][2],
                                  Accumulator<kHeadDim, kColumns>& sum) const {
    constexpr int kOfWord = 16 / kBits;
    constexpr uint32_t kFirst = kBits == 4 ? 0x0f0f0f0fu : 0x33333333u;  // of every two codes
#pragma unroll
    for (int word = 0; word < (kValueBytes + 3) / 4; ++word) {
      uint32_t even[2], odd[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const uint32_t a = rows[2 * i][word];
        const uint32_t b = rows[2 * i + 1][word];
        even[i] = (a & kFirst) | (b << kBits & ~kFirst);
        odd[i] = (a >> kBits & kFirst) | (b & ~kFirst);
      }
#pragma unroll
      for (int at = 0; at < kOfWord; ++at) {
        const int d = word * kOfWord + at;
        if (d >= kHeadDim / 16) break;
        const uint32_t a[4] = {pair(even[0], at), pair(odd[0], at), pair(even[1], at),
                               pair(odd[1], at)};
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          mma_m16n8k16(sum.out[d][c], a, weights[c][0], weights[c][1]);
        }
      }
    }
  }
};

// Four e4m3 of a word as bf16: numbers 0 and 2, 1 and 3. Exact, but for NaN.
__device__ inline uint2 bf16_of_e4m3_apart(uint32_t word) {
  constexpr uint32_t kMagnitude = 0x07f007f0u, kSign = 0x80008000u;
  const __nv_bfloat162 scale = __float2bfloat162_rn(0x1p120f);
  const uint32_t bits[2] = {(word << 4 & kMagnitude) | (word << 8 & kSign),
                            (word >> 4 & kMagnitude) | (word & kSign)};
  uint32_t out[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const __nv_bfloat162 value = __hmul2(*reinterpret_cast<const __nv_bfloat162*>(&bits[i]), scale);
    out[i] = *reinterpret_cast<const uint32_t*>(&value);
  }
  return make_uint2(out[0], out[1]);
}

// The same with NaN as NaN.
__device__ inline uint2 bf16_of_e4m3_apart_exact(uint32_t word) {
  const uint2 near = bf16_of_e4m3(word);
  return make_uint2(prmt(near.x, near.y, 0x5410u), prmt(near.x, near.y, 0x7632u));
}

// Codecs of a byte a coordinate.
//   multiply(multiply, rows...): calls multiply(convert) once, where convert(word) makes bf16 of
//   four stored bytes of these rows, numbers 0 and 2, 1 and 3
struct Fp8Stream {
  using Codec = Fp8Codec;
  static constexpr bool kScaled = false;  // not always

  template <int kWords>
  __device__ static uint32_t find_nan(const uint32_t (&words)[kWords]) {
    uint32_t found = 0;
#pragma unroll
    for (int i = 0; i < kWords; ++i) found |= (words[i] & 0x7f7f7f7fu) + 0x01010101u;
    return found & 0x80808080u;
  }
  // NaN is rare, and looking for it takes less than converting with it.
  template <typename Multiply, typename... Rows>
  __device__ static void multiply(Multiply multiply, const Rows&... rows) {
    if (__any_sync(0xffffffffu, (find_nan(rows) | ...) != 0)) {
      multiply([](uint32_t word) { return bf16_of_e4m3_apart_exact(word); });
    } else {
      multiply([](uint32_t word) { return bf16_of_e4m3_apart(word); });
    }
  }
};

struct Int8Stream {
  using Codec = Int8Codec;
  static constexpr bool kScaled = true;

  template <typename Multiply, typename... Rows>
  __device__ static void multiply(Multiply multiply, const Rows&...) {
    multiply([](uint32_t word) { return bf16_of_int8_apart(word); });
  }
};

template <int kHeadDim, typename Bytes>
struct ByteStream {
  using Codec = typename Bytes::Codec;
  static constexpr int kTiles = 1;
  static constexpr int kCodeBytes = kHeadDim;
  static constexpr int kKeyBytes = kCodeBytes / 4;
  static constexpr int kValueBytes = kCodeBytes / 8;
  static constexpr int kTableBytes = 0;
  static constexpr bool kScaled = Bytes::kScaled;
  static constexpr bool kNatural = false;  // pairs of coordinates 4 i, 4 i + 2 and the next ones

  __device__ ByteStream(const uint8_t*, int) {}
  __device__ static void make_table(uint8_t*, int, int, int) {}

  template <int kColumns>
  __device__ void multiply_keys(const uint32_t (&upper)[kKeyBytes / 4],
                                const uint32_t (&lower)[kKeyBytes / 4],
                                const QueryFragments<kHeadDim, kColumns>& q,
                                float (&logits)[kColumns][4]) const {
    const auto multiply = [&](auto convert) {
#pragma unroll
      for (int k = 0; k < kHeadDim / 16; ++k) {
        const uint2 high = convert(upper[k]);
        const uint2 low = convert(lower[k]);
        const uint32_t a[4] = {high.x, low.x, high.y, low.y};
#pragma unroll
        for (int c = 0; c < kColumns; ++c) mma_m16n8k16(logits[c], a, q[k][c][0], q[k][c][1]);
      }
    };
    Bytes::multiply(multiply, upper, lower);
  }

  template <int kColumns>
  __device__ void multiply_values(const uint32_t (&rows)[4][kValueBytes / 4],
                                  const uint32_t (&weights)[kColumns][2],
                                  Accumulator<kHeadDim, kColumns>& sum) const {
    const auto multiply = [&](auto convert) {
#pragma unroll
      for (int d = 0; d < kHeadDim / 16; ++d) {
        // Coordinates 2d and 2d + 1 of two slots: numbers 0 and 2, 1 and 3 of a word.
        const uint32_t which = d % 2 == 0 ? 0x5410u : 0x7632u;
        const uint2 first = convert(prmt(rows[0][d / 2], rows[1][d / 2], which));
        const uint2 second = convert(prmt(rows[2][d / 2], rows[3][d / 2], which));
        const uint32_t a[4] = {first.x, first.y, second.x, second.y};
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          mma_m16n8k16(sum.out[d][c], a, weights[c][0], weights[c][1]);
        }
      }
    };
    Bytes::multiply(multiply, rows[0], rows[1], rows[2], rows[3]);
  }
};

}  // namespace kvg::cuda
