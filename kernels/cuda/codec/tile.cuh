#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/codes.cuh"
#include "kernels/cuda/codec/device_codec.h"
#include "kernels/cuda/codec/f32.cuh"

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Slots of one KV head into a bf16 tile in shared memory, as tensor cores read it.
namespace kvg::cuda {

// Where the 16-byte chunk (8 elements) of a row lies in a tile [rows, kHeadDim], in elements. The
// chunks of a row are permuted by the row, so that one chunk of 8 consecutive rows (ldmatrix), and
// 8 chunks of one row, lie in all banks.
template <int kHeadDim>
__device__ constexpr int tile_chunk(int row, int chunk) {
  return row * kHeadDim + ((chunk ^ (row & 7)) << 3);
}

// Which slots rows of a tile are: (first + row) mod capacity for row < rows <= capacity.
struct TileSlots {
  int64_t first;  // below capacity
  int64_t capacity;
  int rows;
  int tile_rows;  // a multiple of 8; rows beyond `rows` are zero

  __device__ int64_t operator[](int row) const {
    const int64_t slot = first + row;
    return slot < capacity ? slot : slot - capacity;
  }
};

template <int kHeadDim>
__device__ inline void store_chunk(__nv_bfloat16* tile, int row, int chunk, uint4 value) {
  *reinterpret_cast<uint4*>(tile + tile_chunk<kHeadDim>(row, chunk)) = value;
}

// Calls function(row, part) for the kParts parts of every row, spread over threads so that 8
// neighbouring lanes have 8 rows: their stores of one chunk each meet no bank twice.
template <int kParts, typename Function>
__device__ inline void for_each_part(int tile_rows, int thread, int threads, Function function) {
  for (int i = thread; i < tile_rows * kParts; i += threads) {
    function(i / (8 * kParts) * 8 + i % 8, i / 8 % kParts);
  }
}

// bf16 slots are tiles already.
template <int kHeadDim>
__device__ inline void copy_tile(const uint8_t* codes, const TileSlots& slots, __nv_bfloat16* tile,
                                 int thread, int threads) {
  constexpr int kChunks = kHeadDim / 8;
  for (int i = thread; i < slots.tile_rows * kChunks; i += threads) {
    const int row = i / kChunks;
    const int chunk = i % kChunks;
    const bool valid = row < slots.rows;
    const uint8_t* from = codes + (valid ? slots[row] : 0) * (2 * kHeadDim) + 16 * chunk;
    cp_async_16(shared_u32(tile + tile_chunk<kHeadDim>(row, chunk)), from, valid ? 16 : 0);
  }
}

template <int kHeadDim, int kBits>
__device__ inline void load_eden_tile(const uint8_t* codes, const TileSlots& slots,
                                      __nv_bfloat16* tile, int thread, int threads) {
  constexpr int kParts = kHeadDim / 32;
  for_each_part<kParts>(slots.tile_rows, thread, threads, [&](int row, int part) {
    const bool valid = row < slots.rows;
    EdenCodes<kBits> packed{};
    if (valid) {
      packed = EdenCodes<kBits>::template load<kHeadDim>(
          codes + slots[row] * (kBits * kHeadDim / 8), part);
    }
#pragma unroll
    for (int eight = 0; eight < 4; ++eight) {
      const uint4 value = centroids<kBits>(packed.nibbles(eight));
      store_chunk<kHeadDim>(tile, row, 4 * part + eight, valid ? value : uint4{});
    }
  });
}

// Codecs of a byte a coordinate, fp8 and int8. One loop for both, with a branch in it: kernels that
// have all codecs are short of registers.
template <int kHeadDim>
__device__ inline void load_byte_tile(bool int8, const uint8_t* codes, const TileSlots& slots,
                                      __nv_bfloat16* tile, int thread, int threads) {
  constexpr int kParts = kHeadDim / 16;
  for_each_part<kParts>(slots.tile_rows, thread, threads, [&](int row, int part) {
    uint4 packed{};
    if (row < slots.rows) {
      packed = reinterpret_cast<const uint4*>(codes + slots[row] * kHeadDim)[part];
    }
    const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint2 low, high;
      if (int8) {
        low = bf16_of_int8(words[2 * half]);
        high = bf16_of_int8(words[2 * half + 1]);
      } else {
        low = bf16_of_e4m3(words[2 * half]);
        high = bf16_of_e4m3(words[2 * half + 1]);
      }
      store_chunk<kHeadDim>(tile, row, 2 * part + half, make_uint4(low.x, low.y, high.x, high.y));
    }
  });
}

// Eight coordinates of one bf16 or f32 vector, of a band too (coordinate by coordinate: a chunk has
// any number of stored ones).
__device__ inline uint4 unrotated_chunk(const DeviceCodec& codec, const uint8_t* codes, int chunk) {
  const bool wide = codec.kind == CodecKind::f32;
  if (codec.band_index == nullptr && !wide) return reinterpret_cast<const uint4*>(codes)[chunk];
  if (codec.band_index == nullptr) {
    const auto x = load_f32<8>(codes, chunk, codec.head_dim);
    return make_uint4(pack_bf16(x.word[0], x.word[1]), pack_bf16(x.word[2], x.word[3]),
                      pack_bf16(x.word[4], x.word[5]), pack_bf16(x.word[6], x.word[7]));
  }
  const auto index = reinterpret_cast<const uint4*>(codec.band_index)[chunk];
  const uint32_t pairs[4] = {index.x, index.y, index.z, index.w};
  uint32_t words[4] = {};
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const auto at = static_cast<int16_t>(pairs[j / 2] >> (16 * (j % 2)));
    if (at < 0) continue;
    const uint32_t value = wide ? pack_bf16(load_f32(codes, at, codec.band_count), 0.0f)
                                : uint32_t{reinterpret_cast<const uint16_t*>(codes)[at]};
    words[j / 2] |= value << (16 * (j % 2));
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

template <int kHeadDim>
__device__ inline void load_unrotated_tile(const DeviceCodec& codec, const uint8_t* codes,
                                           const TileSlots& slots, __nv_bfloat16* tile, int thread,
                                           int threads) {
  for_each_part<kHeadDim / 8>(slots.tile_rows, thread, threads, [&](int row, int part) {
    uint4 value{};
    if (row < slots.rows) {
      value = unrotated_chunk(codec, codes + slots[row] * codec.code_bytes, part);
    }
    store_chunk<kHeadDim>(tile, row, part, value);
  });
}

// Decodes slots (first + i) mod capacity, i < rows <= capacity, of one KV head (codes and scales
// are that head's, K or V) into rows of a tile, in the codec's own frame and without the vectors'
// scales, which go to tile_scales [tile_rows] (1 where the codec has none; may be null if so). Rows
// [rows, tile_rows) are zeros with scale 1; tile_rows is a multiple of 8.
//
// `threads` threads work together, each with its own `thread` < threads. bf16 arrives by cp.async:
// the caller commits, waits and synchronises; all else by stores, so that synchronising is enough.
// Centroids are rounded to bf16 (relative error up to 2^-8), fp8 and int8 are exact.
template <int kHeadDim>
__device__ inline void load_tile(const DeviceCodec& codec, const uint8_t* codes,
                                 const uint16_t* scales, int64_t capacity, int64_t first, int rows,
                                 int tile_rows, __nv_bfloat16* tile, float* tile_scales, int thread,
                                 int threads) {
  const TileSlots slots{first < capacity ? first : first % capacity, capacity, rows, tile_rows};
  if (tile_scales != nullptr) {
    for (int row = thread; row < tile_rows; row += threads) {
      const bool scaled = codec.scaled && row < rows;
      tile_scales[row] = scaled ? __half2float(__ushort_as_half(scales[slots[row]])) : 1.0f;
    }
  }
  if (codec.band_index != nullptr) {
    load_unrotated_tile<kHeadDim>(codec, codes, slots, tile, thread, threads);
    return;
  }
  switch (codec.kind) {
    case CodecKind::bf16:
      return copy_tile<kHeadDim>(codes, slots, tile, thread, threads);
    case CodecKind::f32:
      return load_unrotated_tile<kHeadDim>(codec, codes, slots, tile, thread, threads);
    case CodecKind::fp8:
    case CodecKind::int8:
      return load_byte_tile<kHeadDim>(codec.kind == CodecKind::int8, codes, slots, tile, thread,
                                      threads);
    case CodecKind::eden:
      break;
  }
  switch (codec.bits) {
    case 1:
      return load_eden_tile<kHeadDim, 1>(codes, slots, tile, thread, threads);
    case 2:
      return load_eden_tile<kHeadDim, 2>(codes, slots, tile, thread, threads);
    case 3:
      return load_eden_tile<kHeadDim, 3>(codes, slots, tile, thread, threads);
    default:
      return load_eden_tile<kHeadDim, 4>(codes, slots, tile, thread, threads);
  }
}

}  // namespace kvg::cuda
