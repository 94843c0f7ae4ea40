#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/warp.cuh"
#include "kernels/cuda/landmark/live_rules.h"

#include <cstdint>
#include <type_traits>

#include <cuda_bf16.h>

// Products of the 16 tokens of a tile with slots and with tokens, by one warp, exact up to fp32
// sums: tokens are bf16, and an fp32 average is three bf16 numbers.
//
// Which dimension stands where along k does not matter as long as it is the same for both operands:
// here lane 4 g + t has dimensions [16 s + 4 t, 16 s + 4 t + 4) of step s, side by side.
namespace kvg::cuda {

// Rows of tokens lie this many elements apart: four rows of 32 bytes each are in different banks.
template <int kWidth>
inline constexpr int kTokenStride = kWidth + 16;

// 1 / max(|x|, 1e-6); relative error below 2^-22.
__device__ inline float inverse_norm(float squares) {
  float inverse;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(squares));
  return fminf(inverse, 1e6f);
}

__device__ inline float bf16_low(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ inline float bf16_high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ inline uint2 load_pairs(const __nv_bfloat16* row, int step) {
  return *reinterpret_cast<const uint2*>(row + 16 * step + 4 * (lane_id() % 4));
}

// Rows g and g + 8 of a tile.
template <int kWidth>
__device__ inline void load_tokens(const __nv_bfloat16* tokens, int step, uint32_t (&a)[4]) {
  const __nv_bfloat16* row = tokens + lane_id() / 4 * kTokenStride<kWidth>;
  const uint2 upper = load_pairs(row, step);
  const uint2 lower = load_pairs(row + 8 * kTokenStride<kWidth>, step);
  a[0] = upper.x;
  a[1] = lower.x;
  a[2] = upper.y;
  a[3] = lower.y;
}

__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(kWarp, value, 1);
  return value + __shfl_xor_sync(kWarp, value, 2);
}

// Averages [slots, kWidth] of one head: floats, in shared memory, or as they are stored.
struct StoredAverages {
  uint8_t* codes;
};
// Coordinates [kCount i, kCount (i + 1)) of a slot.
template <int kWidth, int kCount>
__device__ inline LaneWords<float, kCount> load_average(const float* averages, int slot, int i) {
  return reinterpret_cast<const LaneWords<float, kCount>*>(averages + slot * kWidth)[i];
}
template <int kWidth, int kCount>
__device__ inline LaneWords<float, kCount> load_average(StoredAverages averages, int slot, int i) {
  return load_f32<kCount>(averages.codes + slot * (4 * kWidth), i, kWidth);
}
template <int kWidth, int kCount>
__device__ inline void store_average(const LaneWords<float, kCount>& x, float* averages, int slot,
                                     int i) {
  reinterpret_cast<LaneWords<float, kCount>*>(averages + slot * kWidth)[i] = x;
}
template <int kWidth, int kCount>
__device__ inline void store_average(const LaneWords<float, kCount>& x, StoredAverages averages,
                                     int slot, int i) {
  store_f32(x, i, kWidth, averages.codes + slot * (4 * kWidth));
}

// Four coordinates of an average, and the first of the three bf16 numbers that each is.
struct AverageQuad {
  float x[4] = {};
  uint32_t first[2] = {};  // pairs
};
template <int kWidth>
__device__ inline AverageQuad load_quad(const float* averages, int slot, int i) {
  const auto quad = load_average<kWidth, 4>(averages, slot, i);
  return {{quad.word[0], quad.word[1], quad.word[2], quad.word[3]},
          {pack_bf16(quad.word[0], quad.word[1]), pack_bf16(quad.word[2], quad.word[3])}};
}
template <int kWidth>
__device__ inline AverageQuad load_quad(StoredAverages averages, int slot, int i) {
  const auto* words = reinterpret_cast<const uint2*>(averages.codes + slot * (4 * kWidth));
  const uint2 upper = words[i];
  const uint2 rest = words[kWidth / 4 + i];
  const auto low = [](uint32_t a, uint32_t b) {
    return join_float({static_cast<uint16_t>(a), static_cast<uint16_t>(b)});
  };
  const auto high = [&](uint32_t a, uint32_t b) { return low(a >> 16, b >> 16); };
  return {
      {low(upper.x, rest.x), high(upper.x, rest.x), low(upper.y, rest.y), high(upper.y, rest.y)},
      {upper.x, upper.y}};
}

// c[i] as mma_m16n8k16: <token, slot>, and |slot|^2 of the lane's row, for eight averages: row g is
// `slot` of `averages`, zeros where it is not `there`.
template <int kWidth, typename Averages>
__device__ inline float average_products(const __nv_bfloat16* tokens, Averages averages, int slot,
                                         bool there, float (&c)[4]) {
  __syncwarp();  // products are a warp's, and what came before may have been a lane's
  float middle[4] = {}, low[4] = {};
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] = 0;
  // From global memory all are asked for at once: a step waits for hardly anything else.
  constexpr int kAtOnce = std::is_pointer_v<Averages> ? 1 : kWidth / 16;
#pragma unroll
  for (int first = 0; first < kWidth / 16; first += kAtOnce) {
    AverageQuad quads[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (there) quads[i] = load_quad<kWidth>(averages, slot, 4 * (first + i) + lane_id() % 4);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      uint32_t a[4];
      load_tokens<kWidth>(tokens, first + i, a);
      float(&x)[4] = quads[i].x;
#pragma unroll
      for (int j = 0; j < 4; ++j) squares = fmaf(x[j], x[j], squares);
      const auto add = [&](float(&sums)[4], uint32_t b0, uint32_t b1) {
        mma_m16n8k16(sums, a, b0, b1);
        x[0] -= bf16_low(b0);
        x[1] -= bf16_high(b0);
        x[2] -= bf16_low(b1);
        x[3] -= bf16_high(b1);
      };
      add(c, quads[i].first[0], quads[i].first[1]);
      add(middle, pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]));
      add(low, pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]));
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] += middle[i] + low[i];
  return quad_sum(squares);
}

// The same for eight rows of bf16: copies in the exact bank, or tokens.
template <int kWidth>
__device__ inline float copy_products(const __nv_bfloat16* tokens, const __nv_bfloat16* row,
                                      float (&c)[4]) {
  __syncwarp();
  float squares = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) c[i] = 0;
#pragma unroll 2
  for (int step = 0; step < kWidth / 16; ++step) {
    uint32_t a[4];
    load_tokens<kWidth>(tokens, step, a);
    uint2 b = make_uint2(0, 0);
    if (row != nullptr) b = load_pairs(row, step);
    mma_m16n8k16(c, a, b.x, b.y);
    const float x[4] = {bf16_low(b.x), bf16_high(b.x), bf16_low(b.y), bf16_high(b.y)};
#pragma unroll
    for (int i = 0; i < 4; ++i) squares = fmaf(x[i], x[i], squares);
  }
  return quad_sum(squares);
}

// What a head contributes to the decisions about the summary bank, in floats. Tokens t' are
// normalised (by their slow dimensions), everything else is not.
struct SummaryPart {
  static constexpr int kSlots = 0;                                  // [slot, t'] <t', slot>
  static constexpr int kSquares = kSlots + kLiveSlots * kLiveTile;  // [slot] |slot|^2
  static constexpr int kInverses = kSquares + kLiveSlots;           // [slot] inverse norm
  // From here on nothing depends on the bank.
  static constexpr int kTokens = kInverses + kLiveSlots;  // [t, t'] <t', t>
  // The same with the tokens t of the tile before.
  static constexpr int kBefore = kTokens + kLiveTile * kLiveTile;
  static constexpr int kTokenNorms = kBefore + kLiveTile * kLiveTile;  // [t] max(|t|, 1e-6)
  static constexpr int kTokenSquares = kTokenNorms + kLiveTile;        // [t] |t|^2
  static constexpr int kGates = kTokenSquares + kLiveTile;             // [t]
  static constexpr int kFloats = kGates + kLiveTile;
  // Of the parts of all heads side by side; four heads apart is half of the banks.
  static constexpr int kStride = kFloats + 4;
};

// Of the exact bank. All vectors are normalised, so the sum over heads is all that matters.
struct ExactPart {
  static constexpr int kRow = kLiveSlots + 8;
  static constexpr int kSlots = 0;                           // [t', slot], rows kRow apart
  static constexpr int kTokens = kSlots + kLiveTile * kRow;  // [t, t']
  // The same with the tokens t of the pass before.
  static constexpr int kBefore = kTokens + kLiveTile * kLiveTile;
  static constexpr int kFloats = kBefore + kLiveTile * kLiveTile;
};

// Products [column, t'] of eight columns from `first` on, scaled by `inverse` of t'.
__device__ inline void store_columns(float* products, int first, const float (&c)[4],
                                     const float* inverse) {
  const int g = lane_id() / 4;
  float* column = products + (first + 2 * (lane_id() % 4)) * kLiveTile;
  column[g] = c[0] * inverse[g];
  column[kLiveTile + g] = c[1] * inverse[g];
  column[g + 8] = c[2] * inverse[g + 8];
  column[kLiveTile + g + 8] = c[3] * inverse[g + 8];
}

// With slots [8 task, 8 task + 8) of the summary bank; `inverse` [t'] of the tokens, `averages`
// [count, kBand].
inline constexpr int kSlotTasks = kLiveSlots / 8;
template <int kBand, typename Averages>
__device__ inline void slot_products(int task, const __nv_bfloat16* tokens, const float* inverse,
                                     Averages averages, int count, float* part) {
  const int slot = 8 * task + lane_id() / 4;
  float c[4];
  const float squares = average_products<kBand>(tokens, averages, slot, slot < count, c);
  store_columns(part + SummaryPart::kSlots, 8 * task, c, inverse);
  if (lane_id() % 4 != 0) return;
  part[SummaryPart::kSquares + slot] = squares;
  part[SummaryPart::kInverses + slot] = inverse_norm(squares);
}

// With tokens [8 task, 8 task + 8) of the tile.
inline constexpr int kTokenTasks = kLiveTile / 8;
template <int kBand>
__device__ inline void token_products(int task, const __nv_bfloat16* tokens, const float* inverse,
                                      float* part) {
  const int token = 8 * task + lane_id() / 4;
  float c[4];
  const float squares = copy_products<kBand>(tokens, tokens + token * kTokenStride<kBand>, c);
  store_columns(part + SummaryPart::kTokens, 8 * task, c, inverse);
  if (lane_id() % 4 != 0) return;
  part[SummaryPart::kTokenNorms + token] = fmaxf(sqrtf(squares), 1e-6f);
  part[SummaryPart::kTokenSquares + token] = squares;
}

// With tokens [8 task, 8 task + 8) of the tile before.
template <int kBand>
__device__ inline void before_products(int task, const __nv_bfloat16* tokens, const float* inverse,
                                       const __nv_bfloat16* before, float* part) {
  float c[4];
  copy_products<kBand>(tokens, before + (8 * task + lane_id() / 4) * kTokenStride<kBand>, c);
  store_columns(part + SummaryPart::kBefore, 8 * task, c, inverse);
}

// Cosines of all tokens of a pass with eight rows, of slots or tokens: `row` is that of row g, null
// for a slot beyond the bank.
template <int kDim>
__device__ inline void exact_cosines(const __nv_bfloat16* tokens, const float* inverse,
                                     const __nv_bfloat16* row, float (&c)[4]) {
  const int g = lane_id() / 4;
  const int t = lane_id() % 4;
  const float mine = inverse_norm(copy_products<kDim>(tokens, row, c));
  const float left = __shfl_sync(kWarp, mine, 8 * t);
  const float right = __shfl_sync(kWarp, mine, 8 * t + 4);
  c[0] *= left * inverse[g];
  c[1] *= right * inverse[g];
  c[2] *= left * inverse[g + 8];
  c[3] *= right * inverse[g + 8];
}

// Of task 0 .. 7, slots from 8 task on, and of the following kTokenTasks, tokens of the pass, and
// as many again, tokens of the pass before.
__device__ inline void store_cosines(int task, const float (&c)[4], float* part) {
  const int g = lane_id() / 4;
  const int t = lane_id() % 4;
  if (task < kSlotTasks) {
    float* row = part + ExactPart::kSlots + g * ExactPart::kRow + 8 * task + 2 * t;
    *reinterpret_cast<float2*>(row) = make_float2(c[0], c[1]);
    *reinterpret_cast<float2*>(row + 8 * ExactPart::kRow) = make_float2(c[2], c[3]);
    return;
  }
  float* column = part + ExactPart::kTokens + (8 * (task - kSlotTasks) + 2 * t) * kLiveTile + g;
  column[0] = c[0];
  column[kLiveTile] = c[1];
  column[8] = c[2];
  column[kLiveTile + 8] = c[3];
}

}  // namespace kvg::cuda
