#pragma once

#include "kernels/cuda/landmark/live_products.cuh"
#include "kernels/cuda/landmark/live_ptx.cuh"

#include <cstdint>

// What the decisions about the summary bank start from: the parts of all heads, put in order, and
// the scores of a tile's tokens with all slots.
namespace kvg::cuda {

// What the first CTA knows about a tile, in floats: of four heads side by side, then of the other
// four, in the place of their parts. Heads that do not exist are zero.
struct TileTable {
  static constexpr int kHeads = kLiveHeads / 2;
  static constexpr int kSlots = 0;  // [slot, t', 4] <t', slot>
  static constexpr int kTokens = kSlots + kHeads * kLiveSlots * kLiveTile;   // [t, t', 4]
  static constexpr int kBefore = kTokens + kHeads * kLiveTile * kLiveTile;   // [t, t', 4]
  static constexpr int kSquares = kBefore + kHeads * kLiveTile * kLiveTile;  // [slot, 4]
  static constexpr int kInverses = kSquares + kHeads * kLiveSlots;           // [slot, 4]
  static constexpr int kNorms = kInverses + kHeads * kLiveSlots;             // [t, 4]
  static constexpr int kTokenSquares = kNorms + kHeads * kLiveTile;          // [t, 4]
  static constexpr int kFloats = kTokenSquares + kHeads * kLiveTile;
  static constexpr int kHalf = kHeads * SummaryPart::kStride;  // from one half to the other
  static_assert(kFloats <= kHalf && kHalf % 4 == 0);

  // Places in a half.
  __device__ static int slot(int slot, int row) {
    return kSlots + (slot * kLiveTile + row) * kHeads;
  }
  __device__ static int token(int t, int row) { return kTokens + (t * kLiveTile + row) * kHeads; }
  __device__ static int before(int t, int row) { return token(t, row) + kBefore - kTokens; }
  __device__ static int square(int slot) { return kSquares + slot * kHeads; }
  __device__ static int inverse(int slot) { return kInverses + slot * kHeads; }
  __device__ static int norm(int t) { return kNorms + t * kHeads; }
  __device__ static int token_square(int t) { return kTokenSquares + t * kHeads; }
};

// Scores [t', slot], rows kScoreStride apart.
inline constexpr int kScoreStride = kLiveSlots + 1;

// Four numbers, by one access.
struct alignas(16) Quad {
  float at[4];
  __device__ float& operator[](int i) { return at[i]; }
  __device__ float operator[](int i) const { return at[i]; }
};
__device__ inline Quad& quad(float* at) { return *reinterpret_cast<Quad*>(at); }
__device__ inline const Quad& quad(const float* at) { return *reinterpret_cast<const Quad*>(at); }

// Turns parts [4, SummaryPart], of which `heads` exist, into half of a TileTable in the same place,
// and adds to scores of slots `thread / 16 + 8 i` for token `thread % 16`. By kArrangers threads,
// that count from 0 and share `barrier`.
inline constexpr int kArrangers = 128;
inline constexpr int kColumns = kArrangers / kLiveTile;
__device__ inline void arrange_half(float* parts, int heads, int thread, int barrier,
                                    float (&scores)[kLiveSlots / kColumns]) {
  constexpr int kHeads = TileTable::kHeads;
  constexpr int kSlotsEach = kLiveSlots / kColumns;
  constexpr int kTokensEach = kLiveTile / kColumns;
  static_assert(kArrangers == 2 * kLiveSlots && kArrangers == kHeads * 2 * kLiveTile);
  const int row = thread % kLiveTile;
  const int column = thread / kLiveTile;
  Quad slots[kSlotsEach], tokens[kTokensEach], before[kTokensEach];
  Quad squares;  // or inverse norms
#pragma unroll
  for (int k = 0; k < kHeads; ++k) {
    const float* part = parts + k * SummaryPart::kStride;
    const bool there = k < heads;
#pragma unroll
    for (int i = 0; i < kSlotsEach; ++i) {
      const int at = thread + i * kArrangers;  // [slot, row]
      slots[i][k] = there ? part[SummaryPart::kSlots + at] : 0;
    }
#pragma unroll
    for (int i = 0; i < kTokensEach; ++i) {
      const int at = thread + i * kArrangers;  // [t, row]
      tokens[i][k] = there ? part[SummaryPart::kTokens + at] : 0;
      before[i][k] = there ? part[SummaryPart::kBefore + at] : 0;
    }
    squares[k] = there ? part[SummaryPart::kSquares + thread] : 0;
  }
  const int head = thread / (2 * kLiveTile);
  const int item = thread % (2 * kLiveTile);  // norms, then squares, of tokens
  const float of_token =
      head < heads ? parts[head * SummaryPart::kStride + SummaryPart::kTokenNorms + item] : 0;
  bar_sync(barrier, kArrangers);  // all have read
#pragma unroll
  for (int i = 0; i < kSlotsEach; ++i) {
    quad(parts + TileTable::slot(column + i * kColumns, row)) = slots[i];
  }
#pragma unroll
  for (int i = 0; i < kTokensEach; ++i) {
    quad(parts + TileTable::token(column + i * kColumns, row)) = tokens[i];
    quad(parts + TileTable::before(column + i * kColumns, row)) = before[i];
  }
  quad(parts + TileTable::square(thread)) = squares;
  parts[TileTable::norm(item) + head] = of_token;
  bar_sync(barrier, kArrangers);
#pragma unroll
  for (int i = 0; i < kSlotsEach; ++i) {
    const Quad inverse = quad(parts + TileTable::inverse(column + i * kColumns));
#pragma unroll
    for (int k = 0; k < kHeads; ++k) scores[i] = fmaf(slots[i][k], inverse[k], scores[i]);
  }
}

// Parts of all heads into a TileTable, and its scores: sums over heads, -infinity for slots that
// are not in use. Threads as in arrange_half().
__device__ inline void arrange_tile(float* parts, uint64_t used, int kv_heads, float* scores,
                                    int thread, int barrier) {
  float sums[kLiveSlots / kColumns] = {};
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    arrange_half(parts + half * TileTable::kHalf, kv_heads - half * TileTable::kHeads, thread,
                 barrier, sums);
  }
#pragma unroll
  for (int i = 0; i < kLiveSlots / kColumns; ++i) {
    const int slot = thread / kLiveTile + i * kColumns;
    const bool in_use = (used >> slot & 1u) != 0;
    scores[thread % kLiveTile * kScoreStride + slot] = in_use ? sums[i] : -INFINITY;
  }
}

}  // namespace kvg::cuda
