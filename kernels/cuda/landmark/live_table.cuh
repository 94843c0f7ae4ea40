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

// The gates of a tile's tokens, and how they move a slot, [t, head] each: at rate r, in the terms
// of live_rules.h.
struct LiveRates {
  alignas(16) float rate[kLiveTile * kLiveHeads];  // r
  float keeps[kLiveTile * kLiveHeads];             // (1 - r)^2
  float cross[kLiveTile * kLiveHeads];             // 2 r (1 - r) max(|t|, 1e-6)
  float share[kLiveTile * kLiveHeads];             // r^2 |t|^2
  float gate[kLiveTile];
};

// Floats as integers of the same order (NaN aside), and back.
__device__ inline int ordered(float x) {
  const int bits = __float_as_int(x);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}
__device__ inline float unordered(int key) {
  return __int_as_float(key ^ ((key >> 31) & 0x7fffffff));
}

// Scores [t', slot] as ordered(), rows kScoreStride apart.
inline constexpr int kScoreStride = kLiveSlots + 1;

// Four numbers, by one access.
struct alignas(16) Quad {
  float at[4];
  __device__ float& operator[](int i) { return at[i]; }
  __device__ float operator[](int i) const { return at[i]; }
};
__device__ inline Quad& quad(float* at) { return *reinterpret_cast<Quad*>(at); }
__device__ inline const Quad& quad(const float* at) { return *reinterpret_cast<const Quad*>(at); }

// Turns parts [kv_heads, SummaryPart] into a TileTable in the same place, and into its scores: sums
// over heads, -infinity for slots that are not in use. By kArrangers threads, that count from 0 and
// share `barrier`; each has some slots and row `thread % 16`.
inline constexpr int kArrangers = 256;
__device__ inline void arrange_tile(float* parts, uint64_t used, int kv_heads, int* scores,
                                    int thread, int barrier) {
  constexpr int kHeads = TileTable::kHeads;
  constexpr int kColumns = kArrangers / kLiveTile;
  constexpr int kSlotsEach = kLiveSlots / kColumns;
  constexpr int kOfHalf = kArrangers / 2;
  static_assert(kColumns == kLiveTile && kOfHalf == 2 * kLiveSlots &&
                kOfHalf == kHeads * 2 * kLiveTile);
  const int row = thread % kLiveTile;
  const int column = thread / kLiveTile;
  const auto of_head = [&](int half, int k, int at) {
    const bool there = half * kHeads + k < kv_heads;
    return there ? parts[half * TileTable::kHalf + k * SummaryPart::kStride + at] : 0;
  };
  Quad slots[2][kSlotsEach], tokens[2], before[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int k = 0; k < kHeads; ++k) {
#pragma unroll
      for (int i = 0; i < kSlotsEach; ++i) {  // [slot, row]
        slots[half][i][k] = of_head(half, k, SummaryPart::kSlots + thread + i * kArrangers);
      }
      tokens[half][k] = of_head(half, k, SummaryPart::kTokens + thread);  // [t, row]
      before[half][k] = of_head(half, k, SummaryPart::kBefore + thread);
    }
  }
  const int of = thread / kOfHalf;
  const int at = thread % kOfHalf;
  Quad squares;  // or inverse norms
#pragma unroll
  for (int k = 0; k < kHeads; ++k) squares[k] = of_head(of, k, SummaryPart::kSquares + at);
  const int head = at / (2 * kLiveTile);
  const int item = at % (2 * kLiveTile);  // norms, then squares, of tokens
  const float of_token = of_head(of, head, SummaryPart::kTokenNorms + item);
  bar_sync(barrier, kArrangers);  // all have read
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float* table = parts + half * TileTable::kHalf;
#pragma unroll
    for (int i = 0; i < kSlotsEach; ++i) {
      quad(table + TileTable::slot(column + i * kColumns, row)) = slots[half][i];
    }
    quad(table + TileTable::token(column, row)) = tokens[half];
    quad(table + TileTable::before(column, row)) = before[half];
  }
  quad(parts + of * TileTable::kHalf + TileTable::square(at)) = squares;
  parts[of * TileTable::kHalf + TileTable::norm(item) + head] = of_token;
  bar_sync(barrier, kArrangers);
#pragma unroll
  for (int i = 0; i < kSlotsEach; ++i) {
    const int slot = column + i * kColumns;
    float sum = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Quad inverse = quad(parts + half * TileTable::kHalf + TileTable::inverse(slot));
#pragma unroll
      for (int k = 0; k < kHeads; ++k) sum = fmaf(slots[half][i][k], inverse[k], sum);
    }
    const bool in_use = (used >> slot & 1u) != 0;
    scores[row * kScoreStride + slot] = ordered(in_use ? sum : -INFINITY);
  }
}

// Of an arranged tile, by kRaters threads that count from 0. `gate`: of token `thread /
// kLiveHeads`.
inline constexpr int kRaters = kLiveTile * kLiveHeads;
__device__ inline void arrange_rates(const float* table, const LiveRules& rules, const float* eta,
                                     int kv_heads, float gate, LiveRates& rates, int thread) {
  const int token = thread / kLiveHeads;
  const int head = thread % kLiveHeads;
  table += head / TileTable::kHeads * TileTable::kHalf + head % TileTable::kHeads;
  const float own = head < kv_heads ? eta[head] : 0;
  const float rate = rules.gated_rate ? own * gate : own;
  const float stays = 1 - rate;
  if (head == 0) rates.gate[token] = gate;
  rates.rate[thread] = rate;
  rates.keeps[thread] = stays * stays;
  rates.cross[thread] = 2 * stays * rate * table[TileTable::norm(token)];
  rates.share[thread] = rate * rate * table[TileTable::token_square(token)];
}

}  // namespace kvg::cuda
