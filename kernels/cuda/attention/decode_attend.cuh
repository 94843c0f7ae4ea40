#pragma once

#include "kernels/cuda/attention/decode_tile.cuh"
#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/tile.cuh"

#include <cstdint>

// Attention of one warp from 8 kColumns queries to 16 slots at a time.
namespace kvg::cuda {

// Transposes an 8 x 8 matrix of 16-bit elements that a warp holds as (lane / 4, 2 (lane % 4)) and
// its right neighbour in one register.
__device__ inline uint32_t movmatrix_trans(uint32_t rows) {
  uint32_t columns;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(columns) : "r"(rows));
  return columns;
}

// Sums of one warp over its slots: a column is a query.
template <int kHeadDim, int kColumns>
struct Accumulator {
  float out[kHeadDim / 16][kColumns][4];  // V^T p^T, as mma leaves it
  float most[kColumns][2];                // largest logit so far, in units of log 2
  float weight[kColumns][2];              // this lane's part of sum p
};

template <int kColumns>
__device__ inline void softmax_step(float (&logits)[kColumns][4], float (&most)[kColumns][2],
                                    float (&weight)[kColumns][2], float (&rescale)[kColumns][2]) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float largest = fmaxf(logits[c][i], logits[c][i + 2]);
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
      }
      largest = fmaxf(largest, most[c][i]);
      // Nothing readable so far: any finite reference gives weights of zero.
      const float reference = largest == -INFINITY ? 0.0f : largest;
      rescale[c][i] = exp2_approx(most[c][i] - reference);
      most[c][i] = largest;
      logits[c][i] = exp2_approx(logits[c][i] - reference);
      logits[c][i + 2] = exp2_approx(logits[c][i + 2] - reference);
      weight[c][i] = weight[c][i] * rescale[c][i] + logits[c][i] + logits[c][i + 2];
    }
  }
}

// Products of keys and queries to logits, in units of log 2: the keys' scales, what is added, and
// -infinity where nothing may be read. Lane = 4 g + t has slots g and g + 8.
template <int kColumns>
__device__ inline void weigh(const StepScales& scales, bool k_scaled, float scale, int lane,
                             float (&logits)[kColumns][4]) {
  const int g = lane / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float bias = __shfl_sync(0xffffffffu, scales.bias, g + 8 * half);
    const float factor =
        k_scaled ? scale * __shfl_sync(0xffffffffu, scales.scale, g + 8 * half) : scale;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        // Not a product with a mask: what an unreadable slot holds must not matter.
        logits[c][i] = bias == -INFINITY ? -INFINITY : logits[c][i] * factor + bias;
      }
    }
  }
}

// Weights, times the values' scales, as the second operand of a product with V^T: what is
// (slot g, query 2t) is wanted as (slot 2t, query g).
template <int kColumns>
__device__ inline void pack_weights(const StepScales& scales, bool v_scaled, int lane,
                                    const float (&weights)[kColumns][4],
                                    uint32_t (&packed)[kColumns][2]) {
  const int g = lane / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float factor =
        v_scaled ? __shfl_sync(0xffffffffu, scales.scale, kStepSlots + g + 8 * half) : 1.0f;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      packed[c][half] = movmatrix_trans(
          pack_bf16(weights[c][2 * half] * factor, weights[c][2 * half + 1] * factor));
    }
  }
}

// One warp's 16 slots: logits^T = K q^T, softmax, out^T += V^T p^T.
template <int kHeadDim, int kColumns>
__device__ inline void attend(const DecodeTiles& tiles, const StepScales& scales, bool k_scaled,
                              bool v_scaled, float scale,
                              const uint32_t (&q)[kHeadDim / 16][kColumns][2], int lane,
                              Accumulator<kHeadDim, kColumns>& sum) {
  // Matrices 0 and 1 of ldmatrix are the upper and lower rows, 2 and 3 the next 8 columns.
  const int row = lane % 16;
  const int side = lane / 16;
  float logits[kColumns][4] = {};
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    uint32_t a[4];
    ldmatrix_x4(a, shared_address(tiles.k + tile_chunk<kHeadDim>(row, 2 * k + side)));
#pragma unroll
    for (int c = 0; c < kColumns; ++c) mma_m16n8k16(logits[c], a, q[k][c][0], q[k][c][1]);
  }
  weigh<kColumns>(scales, k_scaled, scale, lane, logits);
  float rescale[kColumns][2];
  softmax_step<kColumns>(logits, sum.most, sum.weight, rescale);
  uint32_t weights[kColumns][2];
  pack_weights<kColumns>(scales, v_scaled, lane, logits, weights);
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    uint32_t a[4];
    // Transposed: matrices are (slots 0-7, d 0-7), (slots 0-7, d 8-15), then slots 8-15.
    ldmatrix_x4_trans(a, shared_address(tiles.v + tile_chunk<kHeadDim>(lane % 8 + 8 * side,
                                                                       2 * d + lane / 8 % 2)));
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum.out[d][c][i] *= rescale[c][i % 2];
      mma_m16n8k16(sum.out[d][c], a, weights[c][0], weights[c][1]);
    }
  }
}

}  // namespace kvg::cuda
