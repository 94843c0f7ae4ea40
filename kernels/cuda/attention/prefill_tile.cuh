#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/tile.cuh"

#include <cmath>
#include <cstdint>

#include <cuda_bf16.h>

// One tile of attention in registers: 64 slots against the query rows of a warp.
namespace kvg::cuda {

inline constexpr int kPrefillWarps = 4;
inline constexpr int kPrefillThreads = 32 * kPrefillWarps;
inline constexpr int kTileSlots = 64;

// Shared memory of a thread block. A stage holds a tile of K and one of V (tile_chunk of
// codec/tile.cuh); a quarter of a stage has room for 16 rows of kHeadDim floats.
template <int kHeadDim, int kRowTiles>
struct alignas(1024) PrefillShared {
  static constexpr int kRows = 16 * kRowTiles * kPrefillWarps;  // packed query rows

  __nv_bfloat16 q[kRows * kHeadDim];
  __nv_bfloat16 stages[2][2][kTileSlots * kHeadDim];  // [stage][K, V]
  float scales[2][2][kTileSlots];                     // of vectors, [stage][K, V]
  float bias[2][kTileSlots];  // log2 weight of a slot, -infinity: not readable
  int32_t q_row[kRows];       // row of q [rows * streams * heads], -1: none
  int32_t block_row[kRows];   // row of the block
};

// What a warp keeps of its 16 * kRowTiles packed rows. Register index `half` is 0 for row
// lane / 4 of a tile of 16 and 1 for row lane / 4 + 8; columns are 8 n + 2 (lane % 4) + {0, 1}.
// Logits are in units of log 2, so that exp2 is the exponential.
template <int kHeadDim, int kRowTiles>
struct AttentionRows {
  static constexpr int kSlotTiles = kTileSlots / 8;
  static constexpr int kOutTiles = kHeadDim / 8;
  using Scores = float[kRowTiles][kSlotTiles][4];

  // The sums are kept relative to 2^top, which follows the largest logit only when that is more
  // than 2^kSlack higher: rescaling is rare, and bf16 weights up to 2^kSlack are as precise.
  static constexpr float kSlack = 8;

  float out[kRowTiles][kOutTiles][4] = {};  // sum of weight * v
  float top[kRowTiles][2];
  float sum[kRowTiles][2] = {};  // of weights, this lane's columns only until reduce()

  __device__ AttentionRows() {
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
      // Finite, so that a row that reads nothing never subtracts infinities.
      top[tile][0] = top[tile][1] = -1e30f;
    }
  }

  // scores = q k^T; q is the warp's rows [16 * kRowTiles, kHeadDim] and k [64, kHeadDim], both in
  // the order of tile_chunk.
  __device__ static void multiply_keys(const __nv_bfloat16* q, const __nv_bfloat16* k,
                                       Scores& scores) {
    const int lane = threadIdx.x % 32;
    const int swizzle = lane % 8;
    const uint32_t q_address =
        shared_address(q) + lane % 16 * (2 * kHeadDim) + 16 * ((lane / 16) ^ swizzle);
    const uint32_t k_address = shared_address(k) + (lane / 16 * 8 + lane % 8) * (2 * kHeadDim) +
                               16 * ((lane / 8 % 2) ^ swizzle);
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int n = 0; n < kSlotTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[tile][n][i] = 0;
      }
    }
#pragma unroll
    for (int step = 0; step < kHeadDim / 16; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile) {
        ldmatrix_x4(a[tile], (q_address ^ (32 * step)) + tile * (16 * 2 * kHeadDim));
      }
#pragma unroll
      for (int n = 0; n < kSlotTiles; n += 2) {
        uint32_t b[4];
        ldmatrix_x4(b, (k_address ^ (32 * step)) + n * (8 * 2 * kHeadDim));
#pragma unroll
        for (int tile = 0; tile < kRowTiles; ++tile) {
          mma_m16n8k16(scores[tile][n], a[tile], b[0], b[1]);
          mma_m16n8k16(scores[tile][n + 1], a[tile], b[2], b[3]);
        }
      }
    }
  }

  // logit = score * factor * scale of the slot + its bias
  __device__ static void weigh_slots(Scores& scores, const float* scales, const float* bias,
                                     float factor) {
#pragma unroll
    for (int n = 0; n < kSlotTiles; ++n) {
      const int column = 8 * n + 2 * (threadIdx.x % 4);
      const float2 scale = *reinterpret_cast<const float2*>(scales + column);
      const float2 add = *reinterpret_cast<const float2*>(bias + column);
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float* pair = scores[tile][n] + 2 * half;
          pair[0] = fmaf(pair[0], scale.x * factor, add.x);
          pair[1] = fmaf(pair[1], scale.y * factor, add.y);
        }
      }
    }
  }

  // Hides what lies outside [begin, end) of a row.
  __device__ static void hide_columns(float (&scores)[kSlotTiles][4], int half, int begin,
                                      int end) {
#pragma unroll
    for (int n = 0; n < kSlotTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int column = 8 * n + 2 * (static_cast<int>(threadIdx.x) % 4) + i;
        if (column < begin || column >= end) scores[n][2 * half + i] = -INFINITY;
      }
    }
  }

  // Logits (score * factor) -> weights, and their sum.
  __device__ void soften(Scores& scores, float factor) {
    float peak[kRowTiles][2];
    bool higher = false;
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float largest = -INFINITY;
#pragma unroll
        for (int n = 0; n < kSlotTiles; ++n) {
          largest = fmaxf(largest, fmaxf(scores[tile][n][2 * half], scores[tile][n][2 * half + 1]));
        }
        peak[tile][half] = largest * factor;
        higher |= peak[tile][half] > top[tile][half] + kSlack;
      }
    }
    if (__any_sync(0xffffffffu, higher)) raise(peak);
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int n = 0; n < kSlotTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float weight = exp2_approx(fmaf(scores[tile][n][i], factor, -top[tile][i / 2]));
          scores[tile][n][i] = weight;
          sum[tile][i / 2] += weight;
        }
      }
    }
  }

  // weight *= scale of the slot's V
  __device__ static void scale_weights(Scores& weights, const float* scales) {
#pragma unroll
    for (int n = 0; n < kSlotTiles; ++n) {
      const float2 scale = *reinterpret_cast<const float2*>(scales + 8 * n + 2 * (threadIdx.x % 4));
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          weights[tile][n][2 * half] *= scale.x;
          weights[tile][n][2 * half + 1] *= scale.y;
        }
      }
    }
  }

  // out += weights v, weights rounded to bf16; v is [64, kHeadDim] in the order of tile_chunk.
  __device__ void add_values(const Scores& weights, const __nv_bfloat16* v) {
    const int lane = threadIdx.x % 32;
    const uint32_t v_address =
        shared_address(v) + lane % 16 * (2 * kHeadDim) + 16 * ((lane / 16) ^ (lane % 8));
#pragma unroll
    for (int step = 0; step < kTileSlots / 16; ++step) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* pair = weights[tile][2 * step + i / 2] + i % 2 * 2;
          a[tile][i] = pack_bf16(pair[0], pair[1]);
        }
      }
#pragma unroll
      for (int n = 0; n < kOutTiles; n += 2) {
        uint32_t b[4];
        ldmatrix_x4_trans(b, (v_address ^ (16 * n)) + step * (16 * 2 * kHeadDim));
#pragma unroll
        for (int tile = 0; tile < kRowTiles; ++tile) {
          mma_m16n8k16(out[tile][n], a[tile], b[0], b[1]);
          mma_m16n8k16(out[tile][n + 1], a[tile], b[2], b[3]);
        }
      }
    }
  }

  // Sums over the four lanes of a row; now 1 / sum, 0 where nothing was read.
  __device__ void invert_sums() {
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& value = sum[tile][half];
        value += __shfl_xor_sync(0xffffffffu, value, 1);
        value += __shfl_xor_sync(0xffffffffu, value, 2);
        value = value == 0 ? 0 : 1 / value;
      }
    }
  }

  // The sums of one tile of 16 rows to and from scratch [16, kHeadDim].
  __device__ void store_out(int tile, float* scratch) const {
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      float2* at = out_pair(scratch, n);
      at[0] = make_float2(out[tile][n][0], out[tile][n][1]);
      at[4 * kHeadDim] = make_float2(out[tile][n][2], out[tile][n][3]);
    }
  }
  __device__ void load_out(int tile, float* scratch) {
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      const float2* at = out_pair(scratch, n);
      const float2 low = at[0];
      const float2 high = at[4 * kHeadDim];
      out[tile][n][0] = low.x;
      out[tile][n][1] = low.y;
      out[tile][n][2] = high.x;
      out[tile][n][3] = high.y;
    }
  }

 private:
  __device__ static float2* out_pair(float* scratch, int n) {
    const int lane = threadIdx.x % 32;
    return reinterpret_cast<float2*>(scratch + lane / 4 * kHeadDim + 8 * n + 2 * (lane % 4));
  }

  // Moves `top` up to the largest logit of each row.
  __device__ void raise(float (&peak)[kRowTiles][2]) {
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float& largest = peak[tile][half];
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
        largest = fmaxf(largest, top[tile][half]);
        const float shrink = exp2_approx(top[tile][half] - largest);
        top[tile][half] = largest;
        sum[tile][half] *= shrink;
#pragma unroll
        for (int n = 0; n < kOutTiles; ++n) {
          out[tile][n][2 * half] *= shrink;
          out[tile][n][2 * half + 1] *= shrink;
        }
      }
    }
  }
};

}  // namespace kvg::cuda
