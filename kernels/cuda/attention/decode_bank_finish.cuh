#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/hopper/barrier.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// From the sums of one or several warps of a block to the output of a KV head, for the kernel of
// decode_bank_kernel.cuh.
//
// Lane 4 g + t has rows of out^T: coordinates g and g + 8 of 16, of queries 2t and 2t + 1, which
// are two heads or, with two streams, both of head t. Each of the kParts warps that share a KV head
// puts out kHeadDim / 16 / kParts of the 16s.
namespace kvg::cuda {

// What a warp hands to its team.
template <int kHeadDim>
struct BankSums {
  float4 out[kHeadDim / 16][32];  // as the lanes have them
  float2 stats[8];                // of each query: largest logit (log2), sum of weights
};

// The warps that share a KV head, and one's place among them.
template <int kHeadDim>
struct BankTeam {
  BankSums<kHeadDim>* of_block;  // of each warp of the block
  int warp, part, parts;         // the team is warps warp - part and on

  __device__ BankSums<kHeadDim>& own() const { return of_block[warp]; }
  __device__ const BankSums<kHeadDim>& of(int other) const { return of_block[warp - part + other]; }
  __device__ void sync() const { hopper::named_barrier_wait(1 + warp / parts, 32 * parts); }
};

// What softmax over all that the team has read makes of this warp's 16s: parts are added in their
// order.
template <int kHeadDim, int kParts>
__device__ inline void join_team(const BankTeam<kHeadDim>& team, int lane,
                                 const Accumulator<kHeadDim, 1>& sum,
                                 float (&out)[kHeadDim / 16 / kParts][4]) {
  constexpr int kOwn = kHeadDim / 16 / kParts;
  float weight[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) weight[i] = sum_of_query(sum.weight[0][i]);
  if constexpr (kParts == 1) {
    float factor[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) factor[i] = weight[i] > 0 ? 1.0f / weight[i] : 0.0f;
#pragma unroll
    for (int d = 0; d < kOwn; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[d][i] = factor[i % 2] * sum.out[d][0][i];
    }
    return;
  }
  const int t = lane % 4;
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    const float(&x)[4] = sum.out[d][0];
    team.own().out[d][lane] = make_float4(x[0], x[1], x[2], x[3]);
  }
  if (lane / 4 == 0) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      team.own().stats[2 * t + i] = make_float2(sum.most[0][i], weight[i]);
    }
  }
  team.sync();
  float by[kParts][2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float most = -INFINITY;
    float2 stats[kParts];
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      stats[part] = team.of(part).stats[2 * t + i];
      most = fmaxf(most, stats[part].x);
    }
    weight[i] = 0;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      // Nothing readable at all: any finite reference gives weights of zero.
      by[part][i] = exp2_approx(stats[part].x - (most == -INFINITY ? 0.0f : most));
      weight[i] += by[part][i] * stats[part].y;
    }
    const float factor = weight[i] > 0 ? 1.0f / weight[i] : 0.0f;
#pragma unroll
    for (int part = 0; part < kParts; ++part) by[part][i] *= factor;
  }
#pragma unroll
  for (int d = 0; d < kOwn; ++d) {
#pragma unroll
    for (int i = 0; i < 4; ++i) out[d][i] = 0;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      const float4 x = team.of(part).out[team.part * kOwn + d][lane];
      out[d][0] += by[part][0] * x.x;
      out[d][1] += by[part][1] * x.y;
      out[d][2] += by[part][0] * x.z;
      out[d][3] += by[part][1] * x.w;
    }
  }
}

// x[d][half]: coordinates 16 (first + d) + 8 half + g of one head, of which `place` is the place
// among queries.
template <int kHeadDim, int kParts>
__device__ inline void norm_head(const DecodeAttentionLaunch& p, const BankTeam<kHeadDim>& team,
                                 int place, int lane, float (&x)[kHeadDim / 16 / kParts][2]) {
  constexpr int kOwn = kHeadDim / 16 / kParts;
  float squares = 0;
#pragma unroll
  for (int d = 0; d < kOwn; ++d) squares += x[d][0] * x[d][0] + x[d][1] * x[d][1];
  squares = sum_of_query(squares);
  if constexpr (kParts > 1) {
    team.sync();  // in the place of statistics that have been read
    if (lane / 4 == 0) team.own().stats[place].x = squares;
    team.sync();
    squares = 0;
#pragma unroll
    for (int part = 0; part < kParts; ++part) squares += team.of(part).stats[place].x;
  }
  const float factor = rsqrtf(squares / kHeadDim + p.head_norm_eps);
  const auto* weight =
      static_cast<const __nv_bfloat16*>(p.head_norm) + 16 * team.part * kOwn + lane / 4;
#pragma unroll
  for (int d = 0; d < kOwn; ++d) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      x[d][half] *= factor * __bfloat162float(weight[16 * d + 8 * half]);
    }
  }
}

// out = o_0 - lambda o_1 and the head norm, for the heads of KV head `index`.
template <int kHeadDim, int kParts>
__device__ __forceinline__ void finish_heads(const DecodeAttentionLaunch& p, int32_t index,
                                             const BankTeam<kHeadDim>& team, int lane,
                                             const Accumulator<kHeadDim, 1>& sum) {
  constexpr int kOwn = kHeadDim / 16 / kParts;
  float joined[kOwn][4];
  join_team<kHeadDim, kParts>(team, lane, sum, joined);
  const int group_heads = p.heads / p.kv_heads;
  const int32_t sequence = index / p.kv_heads;
  const int64_t first_head =
      int64_t{sequence} * p.heads + (index - sequence * p.kv_heads) * group_heads;
  const int g = lane / 4;
  const int t = lane % 4;
  auto* out = static_cast<uint32_t*>(p.out) + first_head * (kHeadDim / 2) + 8 * team.part * kOwn;
  // Transposed in the registers, a lane has neighbouring coordinates of one head.
  if (p.streams == 2) {
    const float lambda = t < group_heads ? p.lambda[first_head + t] : 0.0f;
    float x[kOwn][2];
#pragma unroll
    for (int d = 0; d < kOwn; ++d) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        x[d][half] = joined[d][2 * half] - lambda * joined[d][2 * half + 1];
      }
    }
    if (p.head_norm != nullptr) norm_head<kHeadDim, kParts>(p, team, t, lane, x);
#pragma unroll
    for (int d = 0; d < kOwn; ++d) {
      const uint32_t pair = movmatrix_trans(pack_bf16(x[d][0], x[d][1]));
      if (g / 2 < group_heads) out[g / 2 * (kHeadDim / 2) + 8 * d + 4 * (g % 2) + t] = pair;
    }
  } else {
    float x[2][kOwn][2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int d = 0; d < kOwn; ++d) {
#pragma unroll
        for (int half = 0; half < 2; ++half) x[i][d][half] = joined[d][2 * half + i];
      }
      if (p.head_norm != nullptr) norm_head<kHeadDim, kParts>(p, team, 2 * t + i, lane, x[i]);
    }
#pragma unroll
    for (int d = 0; d < kOwn; ++d) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const uint32_t pair = movmatrix_trans(pack_bf16(x[0][d][half], x[1][d][half]));
        if (g < group_heads) out[g * (kHeadDim / 2) + 8 * d + 4 * half + t] = pair;
      }
    }
  }
  if constexpr (kParts > 1) team.sync();  // what others read stays until then
}

}  // namespace kvg::cuda
