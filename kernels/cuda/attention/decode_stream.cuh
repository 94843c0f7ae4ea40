#pragma once

#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/decode_slots.h"
#include "kernels/cuda/attention/decode_tile.cuh"
#include "kernels/cuda/attention/stream_codes.cuh"
#include "kernels/cuda/prefetch.cuh"

#include <cstddef>
#include <cstdint>

// Attention of one warp to slots of one dense codec, 16 kTiles at a time: codes go from memory to
// registers and from there to tensor cores, without a stay in shared memory. Values are loaded once
// the first tile of keys is multiplied, the next keys once all keys are, or, where a step has
// several tiles and so no registers to spare, the first tile of values; both have been on their way
// into the second-level cache for some steps by then.
namespace kvg::cuda {

inline constexpr int kStreamWarps = 8;

// Slot of row r of a product over 16 slots: rows 2t and 2t + 1 are slots t and t + 4, so that the
// lanes of one load of values have neighbouring slots.
__device__ constexpr int stream_slot(int row) { return row / 8 * 8 + row % 8 / 2 + row % 2 * 4; }

// kBytes of global memory past the first-level cache, aligned to themselves (32: to 16).
template <int kBytes>
__device__ inline void load_streaming(const uint8_t* from, uint32_t (&out)[(kBytes + 3) / 4]) {
  if constexpr (kBytes == 2) {
    asm volatile("{ .reg .u16 h; ld.global.L1::no_allocate.u16 h, [%1]; cvt.u32.u16 %0, h; }"
                 : "=r"(out[0])
                 : "l"(from));
  } else if constexpr (kBytes == 4) {
    asm volatile("ld.global.L1::no_allocate.u32 %0, [%1];" : "=r"(out[0]) : "l"(from));
  } else if constexpr (kBytes == 8) {
    asm volatile("ld.global.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(out[0]), "=r"(out[1])
                 : "l"(from));
  } else {
    static_assert(kBytes % 16 == 0);
#pragma unroll
    for (int i = 0; i < kBytes / 16; ++i) {
      asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(out[4 * i]), "=r"(out[4 * i + 1]), "=r"(out[4 * i + 2]),
                     "=r"(out[4 * i + 3])
                   : "l"(from + 16 * i));
    }
  }
}

// The codes of one step that a lane (4 g + t) multiplies: of keys a quarter, the t-th, of rows g
// and g + 8; of values an eighth, the g-th, of slots t, t + 4, t + 8 and t + 12.
template <typename Codes>
struct StreamStep {
  uint32_t k[Codes::kTiles][2][(Codes::kKeyBytes + 3) / 4];
  uint32_t v[Codes::kTiles][4][(Codes::kValueBytes + 3) / 4];
  uint16_t k_scale = 0x3c00, v_scale = 0x3c00;  // of slot `lane`, where the codec has scales
};

// The slots of one group and KV head, in shared memory: what is needed once a step or less, for
// which the loop has no registers.
struct alignas(16) StreamSource {
  const uint16_t* k_scales;  // null where the codec has none
  const uint16_t* v_scales;
  int32_t capacity, first;  // slot i of the group is number (first + i) mod capacity
  DecodeGroup group;
};

// Where a step reads: from index `from` of the group, which is slot number `at` of the store. With
// at < 0 its slots are not kSlots neighbouring ones; those beyond the last one are then read as the
// last one, and weigh nothing.
struct StreamPlace {
  int32_t from, at;
};

// The slots that a warp reads: every kStreamWarps-th step of a segment.
template <typename Codes>
struct CodeStream {
  static constexpr int kSlots = 16 * Codes::kTiles;  // of a step
  static constexpr int kRound = kStreamWarps * kSlots;
  static constexpr int kAhead = 1;  // steps on their way to the second-level cache

  const uint8_t* k;  // of the KV head
  const uint8_t* v;
  uint32_t source;     // StreamSource in shared memory
  int32_t begin, end;  // from the warp's first step on
  int32_t lane;

  __device__ StreamPlace place(int32_t from) const {
    StreamPlace place{from, slot(from)};
    uint32_t capacity[1];
    load_shared<4>(source + offsetof(StreamSource, capacity), capacity);
    const bool whole =
        from + kSlots <= end && place.at + kSlots <= static_cast<int32_t>(capacity[0]);
    if (!whole) place.at = -1;
    return place;
  }
  __device__ int32_t slot(int32_t index) const {
    uint32_t ring[2];
    load_shared<8>(source + offsetof(StreamSource, capacity), ring);
    const auto capacity = static_cast<int32_t>(ring[0]);
    const int32_t at = static_cast<int32_t>(ring[1]) + index;
    return at < capacity ? at : at - capacity;
  }

  __device__ void load_keys(const StreamPlace& place, StreamStep<Codes>& to) const {
    const uint8_t* of_lane = k + lane % 4 * Codes::kKeyBytes;
    if (place.at >= 0) {
      of_lane += (place.at + stream_slot(lane / 4)) * int64_t{Codes::kCodeBytes};
#pragma unroll
      for (int i = 0; i < 2 * Codes::kTiles; ++i) {
        load_streaming<Codes::kKeyBytes>(of_lane + 8 * i * Codes::kCodeBytes, to.k[i / 2][i % 2]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 2 * Codes::kTiles; ++i) {
        const int32_t at = slot(min(place.from + 8 * i + stream_slot(lane / 4), end - 1));
        load_streaming<Codes::kKeyBytes>(of_lane + at * int64_t{Codes::kCodeBytes},
                                         to.k[i / 2][i % 2]);
      }
    }
  }

  __device__ void load_values(const StreamPlace& place, StreamStep<Codes>& to) const {
    const uint8_t* of_lane = v + lane / 4 * Codes::kValueBytes;
    if (place.at >= 0) {
      of_lane += (place.at + lane % 4) * int64_t{Codes::kCodeBytes};
#pragma unroll
      for (int i = 0; i < 4 * Codes::kTiles; ++i) {
        load_streaming<Codes::kValueBytes>(of_lane + 4 * i * Codes::kCodeBytes, to.v[i / 4][i % 4]);
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4 * Codes::kTiles; ++i) {
        const int32_t at = slot(min(place.from + 4 * i + lane % 4, end - 1));
        load_streaming<Codes::kValueBytes>(of_lane + at * int64_t{Codes::kCodeBytes},
                                           to.v[i / 4][i % 4]);
      }
    }
  }

  __device__ void load_scales(const StreamPlace& place, StreamStep<Codes>& to) const {
    const int32_t at =
        place.at >= 0 ? place.at + lane % kSlots : slot(min(place.from + lane % kSlots, end - 1));
    uint32_t words[4];
    load_shared<16>(source, words);
    const auto* k_scales = reinterpret_cast<const uint16_t*>(words[0] | uint64_t{words[1]} << 32);
    const auto* v_scales = reinterpret_cast<const uint16_t*>(words[2] | uint64_t{words[3]} << 32);
    load_if(Codes::kScaled || k_scales != nullptr, k_scales + at, to.k_scale);
    load_if(Codes::kScaled || v_scales != nullptr, v_scales + at, to.v_scale);
  }

  __device__ void prefetch(int32_t from) const {
    if (lane >= 2 || from >= end) return;
    const StreamPlace to = place(from);
    if (to.at < 0) return;
    prefetch_l2((lane == 0 ? k : v) + to.at * int64_t{Codes::kCodeBytes},
                kSlots * Codes::kCodeBytes);
  }

  // What does not depend on the launch before this one.
  __device__ void start(StreamStep<Codes>& to) const {
    if (begin >= end) return;
    prefetch(begin);
    const StreamPlace first = place(begin);
    load_scales(first, to);
    load_keys(first, to);
#pragma unroll
    for (int i = 1; i <= kAhead; ++i) prefetch(begin + i * kRound);
  }
};

// The scales of keys (lower half) and values of the rows that a lane has of each tile.
template <int kTiles>
using RowScales = uint32_t[kTiles][2];

template <int kTiles>
__device__ inline void spread_scales(uint16_t k_scale, uint16_t v_scale, int lane,
                                     RowScales<kTiles>& rows) {
  const uint32_t both = k_scale | static_cast<uint32_t>(v_scale) << 16;
  const int row = stream_slot(lane / 4);
#pragma unroll
  for (int i = 0; i < 2 * kTiles; ++i) {
    rows[i / 2][i % 2] = __shfl_sync(0xffffffffu, both, row + 8 * i);
  }
}

__device__ inline float half_to_float(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

// A warp's share of a segment.
template <int kHeadDim, int kColumns, typename Codes>
__device__ void attend_stream(const CodeStream<Codes>& stream, const Codes& codes,
                              StreamStep<Codes>& step, float scale,
                              const QueryFragments<kHeadDim, kColumns>& q,
                              Accumulator<kHeadDim, kColumns>& sum) {
  constexpr int kTiles = Codes::kTiles;
  const int lane = stream.lane;
  using Stream = CodeStream<Codes>;
  StreamPlace place = stream.place(stream.begin);
#pragma unroll 1
  while (place.from < stream.end) {
    float logits[kTiles][kColumns][4] = {};
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      codes.template multiply_keys<kColumns>(step.k[tile][0], step.k[tile][1], q, logits[tile]);
      if (tile == 0) stream.load_values(place, step);
    }
    RowScales<kTiles> scales;
    spread_scales<kTiles>(step.k_scale, step.v_scale, lane, scales);
    const int32_t left = stream.end - place.from - stream_slot(lane / 4);
    place = stream.place(place.from + Stream::kRound);
    const bool more = place.from < stream.end;
    if (more) stream.load_scales(place, step);
    if (kTiles == 1 && more) stream.load_keys(place, step);
    stream.prefetch(place.from + Stream::kAhead * Stream::kRound);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = scale * half_to_float(scales[tile][half] & 0xffffu);
        const bool readable = 16 * tile + 8 * half < left;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
#pragma unroll
          for (int j = 2 * half; j < 2 * half + 2; ++j) {
            logits[tile][c][j] = readable ? logits[tile][c][j] * factor : -INFINITY;
          }
        }
      }
    }
    softmax_step<kHeadDim, kColumns, kTiles>(logits, sum);
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      uint32_t weights[kColumns][2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float factor = half_to_float(scales[tile][half] >> 16);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          weights[c][half] = movmatrix_trans(pack_bf16(logits[tile][c][2 * half] * factor,
                                                       logits[tile][c][2 * half + 1] * factor));
        }
      }
      codes.template multiply_values<kColumns>(step.v[tile], weights, sum);
      if (kTiles > 1 && tile == 0 && more) stream.load_keys(place, step);
    }
  }
}

}  // namespace kvg::cuda
