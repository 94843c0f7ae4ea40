#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/mma.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// The output of a KV head that one warp has read by itself, out of its registers.
namespace kvg::cuda {

// Sum over the lanes that have the same queries.
__device__ inline float sum_of_query(float part) {
#pragma unroll
  for (int offset = 4; offset < 32; offset *= 2) {
    part += __shfl_xor_sync(0xffffffffu, part, offset);
  }
  return part;
}

// Coordinates (16 d + 8 half + lane / 4) of one head as the head norm leaves them.
template <int kHeadDim>
__device__ inline void norm_head(const DecodeAttentionLaunch& p, int lane,
                                 float (&x)[kHeadDim / 16][2]) {
  if (p.head_norm == nullptr) return;
  float squares = 0;
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    squares += x[d][0] * x[d][0] + x[d][1] * x[d][1];
  }
  const float factor = rsqrtf(sum_of_query(squares) / kHeadDim + p.head_norm_eps);
  const auto* weight = static_cast<const __nv_bfloat16*>(p.head_norm) + lane / 4;
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      x[d][half] *= factor * __bfloat162float(weight[16 * d + 8 * half]);
    }
  }
}

// out = o_0 - lambda o_1, head norm, for the heads of KV head `index`.
//
// Lane 4 g + t has rows of out^T: coordinates g and g + 8 of 16, of queries 2t and 2t + 1, which
// are two heads or, with two streams, both of head t. Transposed in the registers, a lane has
// neighbouring coordinates of one head.
template <int kHeadDim>
__device__ inline void finish_alone(const DecodeAttentionLaunch& p, int32_t index,
                                    const Accumulator<kHeadDim, 1>& sum, int lane) {
  const int group_heads = p.heads / p.kv_heads;
  const int32_t sequence = index / p.kv_heads;
  const int64_t first_head =
      int64_t{sequence} * p.heads + (index - sequence * p.kv_heads) * group_heads;
  float factor[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float weight = sum_of_query(sum.weight[0][i]);
    factor[i] = weight > 0 ? 1.0f / weight : 0.0f;
  }
  const int g = lane / 4;
  const int t = lane % 4;
  auto* out = static_cast<uint32_t*>(p.out) + first_head * (kHeadDim / 2);
  float x[2][kHeadDim / 16][2];
  if (p.streams == 2) {
    const float lambda = t < group_heads ? p.lambda[first_head + t] : 0.0f;
#pragma unroll
    for (int d = 0; d < kHeadDim / 16; ++d) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        x[0][d][half] =
            factor[0] * sum.out[d][0][2 * half] - lambda * factor[1] * sum.out[d][0][2 * half + 1];
      }
    }
    norm_head<kHeadDim>(p, lane, x[0]);
#pragma unroll
    for (int d = 0; d < kHeadDim / 16; ++d) {
      const uint32_t pair = movmatrix_trans(pack_bf16(x[0][d][0], x[0][d][1]));
      if (g / 2 < group_heads) out[g / 2 * (kHeadDim / 2) + 8 * d + 4 * (g % 2) + t] = pair;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int d = 0; d < kHeadDim / 16; ++d) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        x[i][d][half] = factor[i] * sum.out[d][0][2 * half + i];
      }
    }
    norm_head<kHeadDim>(p, lane, x[i]);
  }
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t pair = movmatrix_trans(pack_bf16(x[0][d][half], x[1][d][half]));
      if (g < group_heads) out[g * (kHeadDim / 2) + 8 * d + 4 * half + t] = pair;
    }
  }
}

}  // namespace kvg::cuda
