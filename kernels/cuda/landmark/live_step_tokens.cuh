#pragma once

#include "kernels/cuda/landmark/live_step.h"
#include "kernels/cuda/landmark/live_tokens.cuh"
#include "kernels/cuda/landmark/recent_tokens.cuh"

#include <algorithm>
#include <cstdint>

// What the CTAs of a decode step share.
namespace kvg::cuda {

inline constexpr int kStepWarps = 8;
inline constexpr int kStepThreads = 32 * kStepWarps;

// A vector of a token that leaves, in bf16; `kPlain` where the recent slots are.
template <int kDim, bool kPlain>
__device__ inline LaneBits<kDim> token_bits(const RecentTokens& source, int row, int head,
                                            bool value) {
  if constexpr (kPlain) {
    const DeviceSlots& slots = source.cache.recent;
    const auto capacity = static_cast<uint32_t>(slots.capacity);
    const auto position = static_cast<uint32_t>(source.position(row) - source.plan.sinks);
    const int64_t at = int64_t{head} * capacity + position % capacity;
    return lane_bits<kDim>((value ? slots.v_codes : slots.k_codes) + at * (2 * kDim));
  }
  const LaneVector<kDim> x = source.load<kDim>(row, head, value);
  LaneBits<kDim> bits;
#pragma unroll
  for (int i = 0; i < kLaneWidth<kDim>; ++i) {
    bits.word[i] = __bfloat16_as_ushort(__float2bfloat16_rn(x[i]));
  }
  return bits;
}

// Calls use(head, token, bits) by one warp for the keys or values of every head and token; row(i)
// is that of token i < count, the others are zero. Several vectors are under way at a time.
template <int kDim, bool kPlain, typename Row, typename Use>
__device__ inline void for_each_vector(const RecentTokens& source, bool value, int heads, int count,
                                       Row row, Use use) {
  constexpr int kTogether = kPlain ? 2 : 1;
  const int warp = static_cast<int>(threadIdx.x) / 32;
#pragma unroll 1
  for (int first = warp; first < heads * kLiveTile; first += kTogether * kStepWarps) {
    LaneBits<kDim> bits[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int task = first + i * kStepWarps;
      bits[i] = {};
      if (task < heads * kLiveTile && task % kLiveTile < count) {
        bits[i] = token_bits<kDim, kPlain>(source, row(task % kLiveTile), task / kLiveTile, value);
      }
    }
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int task = first + i * kStepWarps;
      if (task < heads * kLiveTile) use(task / kLiveTile, task % kLiveTile, bits[i]);
    }
  }
}

}  // namespace kvg::cuda
