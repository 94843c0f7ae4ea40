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

// A tile to read: slots [begin, min(begin + kTileSlots, end)) of a group.
struct TileCursor {
  int32_t group;
  int32_t begin;
  int32_t end;
};

// What a thread block works on, kept out of registers.
struct PrefillItemRows {
  int64_t row_begin;  // of the block, in the call
  int32_t kv_head;
  int32_t group_end;
  int32_t first_row, last_row;  // rows of the block that the item has
};

// threadIdx.x, read anew: what is derived from it is then computed where it is needed, and not kept
// in registers through the loop over tiles.
__device__ inline int fresh_thread() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}

// Shared memory of a thread block. A stage holds a tile of K and one of V (tile_chunk of
// codec/tile.cuh); a quarter of a stage has room for 16 rows of kHeadDim floats.
template <int kHeadDim, int kRowTiles>
struct alignas(1024) PrefillShared {
  static constexpr int kRows = 16 * kRowTiles * kPrefillWarps;  // packed query rows

  __nv_bfloat16 q[kRows * kHeadDim];
  __nv_bfloat16 stages[2][2][kTileSlots * kHeadDim];  // [stage][K, V]
  float scales[2][2][kTileSlots];                     // of vectors, [stage][K, V]
  float bias[2][kTileSlots];  // of scores: weight of a slot; -infinity: not readable
  int32_t q_row[kRows];       // row of q [rows * streams * heads], -1: none
  int32_t block_row[kRows];   // row of the block
  PrefillItemRows item;
  TileCursor tiles[4];
};

// 8 rows of bf16 [8, kHeadDim] in the order of tile_chunk to registers, columns
// 8 n + 2 (lane % 4) + {0, 1} of row lane / 4, and back.
template <int kHeadDim>
__device__ inline void load_rows(const __nv_bfloat16* rows, float (&x)[kHeadDim / 8][2]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; n += 4) {
    uint32_t pairs[4];
    ldmatrix_x4(pairs, shared_u32(rows + tile_chunk<kHeadDim>(lane % 8, n + lane / 8)));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pairs[i]));
      x[n + i][0] = pair.x;
      x[n + i][1] = pair.y;
    }
  }
  __syncwarp();
}

template <int kHeadDim>
__device__ inline void store_rows(__nv_bfloat16* rows, const float (&x)[kHeadDim / 8][2]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < kHeadDim / 8; ++n) {
    *reinterpret_cast<uint32_t*>(rows + tile_chunk<kHeadDim>(lane / 4, n) + 2 * (lane % 4)) =
        pack_bf16(x[n][0], x[n][1]);
  }
  __syncwarp();
}

// What a warp keeps of its 16 * kRowTiles packed rows. Register index `half` is 0 for row
// lane / 4 of a tile of 16 and 1 for row lane / 4 + 8; columns are 8 n + 2 (lane % 4) + {0, 1}.
// Logits are in units of log 2, so that exp2 is the exponential.
//
// Slots are taken in parts of 32: exponentials of one part stand between the products of another in
// the program, so that both units have work.
template <int kHeadDim, int kRowTiles>
struct AttentionRows {
  static constexpr int kPartSlots = 32;
  static constexpr int kSlotTiles = kPartSlots / 8;
  static constexpr int kOutTiles = kHeadDim / 8;
  static constexpr int kFragments = kRowTiles * kSlotTiles;
  using Scores = float[kRowTiles][kSlotTiles][4];
  using Weights = uint32_t[kRowTiles][kSlotTiles][2];  // [half] two neighbouring columns in bf16

  // The sums are kept relative to 2^top, which follows the largest logit only when that is more
  // than 2^kSlack higher: rescaling is rare, and bf16 weights up to 2^kSlack are as precise.
  static constexpr float kSlack = 8;

  float out[kRowTiles][kOutTiles][4] = {};  // sum of weight * v
  float top[kRowTiles][2];
  float sum[kRowTiles][2] = {};  // of weights, this lane's columns only until invert_sums()

  __device__ AttentionRows() {
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
      // Finite, so that a row that reads nothing never subtracts infinities.
      top[tile][0] = top[tile][1] = -1e30f;
    }
  }

  // scores = q k^T; q is the warp's rows [16 * kRowTiles, kHeadDim] and k [32, kHeadDim], both in
  // the order of tile_chunk. Calls between(i, n) for i < n with the products of step i under way.
  template <typename Between>
  __device__ static void multiply_keys(const __nv_bfloat16* q, const __nv_bfloat16* k,
                                       Scores& scores, Between between) {
    const int lane = threadIdx.x % 32;
    const uint32_t q_address =
        shared_u32(q) + lane % 16 * (2 * kHeadDim) + 16 * ((lane / 16) ^ (lane % 8));
    const uint32_t k_address = shared_u32(k) + (lane / 16 * 8 + lane % 8) * (2 * kHeadDim) +
                               16 * ((lane / 8 % 2) ^ (lane % 8));
#pragma unroll
    for (int tile = 0; tile < kRowTiles; ++tile) {
#pragma unroll
      for (int n = 0; n < kSlotTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) scores[tile][n][i] = 0;
      }
    }
    constexpr int kSteps = kHeadDim / 16;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
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
      between(step, kSteps);
    }
  }

  // score = score * scale of the slot + its bias
  __device__ static void weigh_slots(Scores& scores, const float* scales, const float* bias) {
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
          pair[0] = fmaf(pair[0], scale.x, add.x);
          pair[1] = fmaf(pair[1], scale.y, add.y);
        }
      }
    }
  }

  // Hides what lies outside columns [begin, end) of a row.
  __device__ static void hide_columns(float (&scores)[kSlotTiles][4], int half, int begin,
                                      int end) {
    const int own = 2 * (fresh_thread() % 4);  // this lane's first column
    begin -= own;
    end -= own;
#pragma unroll
    for (int n = 0; n < kSlotTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (8 * n + i < begin || 8 * n + i >= end) scores[n][2 * half + i] = -INFINITY;
      }
    }
  }

  // Looks for logits (score * factor) far above `top`. `weights` are relative to `top` and not in
  // the sums yet; null: none.
  __device__ void follow(const Scores& scores, float factor, Weights* weights) {
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
    if (__any_sync(0xffffffffu, higher)) raise(peak, weights);
  }

  // Logits (score * factor) -> weights and their sum, fragments step * kFragments / steps to
  // (step + 1) * kFragments / steps. With `scales` of the slots' V [32], kScaled, weights are
  // multiplied by them.
  template <bool kScaled>
  __device__ void soften(const Scores& scores, float factor, const float* scales, int step,
                         int steps, Weights& weights) {
#pragma unroll
    for (int i = 0; i < kFragments; ++i) {
      if (i < step * kFragments / steps || i >= (step + 1) * kFragments / steps) continue;
      const int tile = i % kRowTiles;
      const int n = i / kRowTiles;
      float2 scale = {1, 1};
      if constexpr (kScaled) {
        scale = *reinterpret_cast<const float2*>(scales + 8 * n + 2 * (threadIdx.x % 4));
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float* pair = scores[tile][n] + 2 * half;
        const float low = exp2_approx(fmaf(pair[0], factor, -top[tile][half]));
        const float high = exp2_approx(fmaf(pair[1], factor, -top[tile][half]));
        sum[tile][half] += low + high;
        weights[tile][n][half] =
            kScaled ? pack_bf16(low * scale.x, high * scale.y) : pack_bf16(low, high);
      }
    }
  }

  // out += weights v; v is [32, kHeadDim] in the order of tile_chunk. Calls between(i, n) for i < n
  // with the products of step i under way.
  template <typename Between>
  __device__ void add_values(const Weights& weights, const __nv_bfloat16* v, Between between) {
    const int lane = threadIdx.x % 32;
    const uint32_t v_address =
        shared_u32(v) + lane % 16 * (2 * kHeadDim) + 16 * ((lane / 16) ^ (lane % 8));
    constexpr int kSteps = kPartSlots / 16 * kOutTiles / 2;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const int slots = step / (kOutTiles / 2);
      const int n = step % (kOutTiles / 2) * 2;
      uint32_t b[4];
      ldmatrix_x4_trans(b, (v_address ^ (16 * n)) + slots * (16 * 2 * kHeadDim));
#pragma unroll
      for (int tile = 0; tile < kRowTiles; ++tile) {
        const uint32_t a[4] = {weights[tile][2 * slots][0], weights[tile][2 * slots][1],
                               weights[tile][2 * slots + 1][0], weights[tile][2 * slots + 1][1]};
        mma_m16n8k16(out[tile][n], a, b[0], b[1]);
        mma_m16n8k16(out[tile][n + 1], a, b[2], b[3]);
      }
      between(step, kSteps);
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

  // The sums of 8 rows.
  __device__ void get_out(int tile, int half, float (&x)[kOutTiles][2]) const {
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      x[n][0] = out[tile][n][2 * half];
      x[n][1] = out[tile][n][2 * half + 1];
    }
  }
  __device__ void set_out(int tile, int half, const float (&x)[kOutTiles][2]) {
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      out[tile][n][2 * half] = x[n][0];
      out[tile][n][2 * half + 1] = x[n][1];
    }
  }

 private:
  // Moves `top` up to the largest logit of each row.
  __device__ void raise(float (&peak)[kRowTiles][2], Weights* weights) {
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
        if (weights == nullptr) continue;
#pragma unroll
        for (int n = 0; n < kSlotTiles; ++n) {
          uint32_t& pair = (*weights)[tile][n][half];
          const float2 wide = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&pair));
          pair = pack_bf16(wide.x * shrink, wide.y * shrink);
        }
      }
    }
  }
};

}  // namespace kvg::cuda
