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

// Queries as second operands of mma, by steps of 16 coordinates.
template <int kHeadDim, int kColumns>
using QueryFragments = uint32_t[kHeadDim / 16][kColumns][2];

// Sums of one warp over its slots: a column is a query.
template <int kHeadDim, int kColumns>
struct Accumulator {
  float out[kHeadDim / 16][kColumns][4];  // V^T p^T, as mma leaves it
  float most[kColumns][2];                // largest logit so far, in units of log 2
  float weight[kColumns][2];              // this lane's part of sum p
};

// Sum over the lanes that have the same queries.
__device__ inline float sum_of_query(float part) {
#pragma unroll
  for (int offset = 4; offset < 32; offset *= 2) {
    part += __shfl_xor_sync(0xffffffffu, part, offset);
  }
  return part;
}

// Sums of nothing.
template <int kHeadDim, int kColumns>
__device__ inline void clear(Accumulator<kHeadDim, kColumns>& sum) {
  sum = {};
#pragma unroll
  for (int c = 0; c < kColumns; ++c) sum.most[c][0] = sum.most[c][1] = -INFINITY;
}

// Logits of 16 kTiles slots, in units of log 2, to weights exp2(logit - largest so far); what was
// summed up before is brought to the same reference. Lane 4 g + t has queries 2t and 2t + 1 of
// slots that all lanes of the same t together have.
template <int kHeadDim, int kColumns, int kTiles>
__device__ inline void softmax_step(float (&logits)[kTiles][kColumns][4],
                                    Accumulator<kHeadDim, kColumns>& sum) {
  float rescale[kColumns][2];
  bool grew = false;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float largest = sum.most[c][i];
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        largest = fmaxf(largest, fmaxf(logits[tile][c][i], logits[tile][c][i + 2]));
      }
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
      }
      // Nothing readable so far: any finite reference gives weights of zero.
      const float reference = largest == -INFINITY ? 0.0f : largest;
      rescale[c][i] = exp2_approx(sum.most[c][i] - reference);
      grew = grew || rescale[c][i] != 1.0f;
      sum.most[c][i] = largest;
      float weight = sum.weight[c][i] * rescale[c][i];
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int j = i; j < 4; j += 2) {
          logits[tile][c][j] = exp2_approx(logits[tile][c][j] - reference);
          weight += logits[tile][c][j];
        }
      }
      sum.weight[c][i] = weight;
    }
  }
  // In a long cache the largest logit is found early.
  if (!__any_sync(0xffffffffu, grew)) return;
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) sum.out[d][c][i] *= rescale[c][i % 2];
    }
  }
}

// Products of keys and queries to logits, in units of log 2: the keys' scales, what is added, and
// -infinity where nothing may be read. Lane = 4 g + t has slots g and g + 8.
template <int kColumns>
__device__ inline void weigh(const StepScales& scales, bool k_scaled, float scale, int lane,
                             float (&logits)[kColumns][4]) {
  const float own_bias = scales.bias();
  const int g = lane / 4;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float bias = __shfl_sync(0xffffffffu, own_bias, g + 8 * half);
    const float factor =
        k_scaled ? scale * __shfl_sync(0xffffffffu, scales.factor(), g + 8 * half) : scale;
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
        v_scaled ? __shfl_sync(0xffffffffu, scales.factor(), kStepSlots + g + 8 * half) : 1.0f;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      packed[c][half] = movmatrix_trans(
          pack_bf16(weights[c][2 * half] * factor, weights[c][2 * half + 1] * factor));
    }
  }
}

// logits^T += K q^T, keys as a tile at `keys`.
template <int kHeadDim, int kColumns>
__device__ inline void multiply_keys(uint32_t keys, const QueryFragments<kHeadDim, kColumns>& q,
                                     int lane, float (&logits)[kColumns][4]) {
  // Matrices 0 and 1 of ldmatrix are the upper and lower rows, 2 and 3 the next 8 columns.
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    uint32_t a[4];
    ldmatrix_x4(a, keys + 2u * tile_chunk<kHeadDim>(lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int c = 0; c < kColumns; ++c) mma_m16n8k16(logits[c], a, q[k][c][0], q[k][c][1]);
  }
}

// The same of stored codes: lane 4 g + t has a quarter of the coordinates, the t-th, of slots g and
// g + 8.
template <int kHeadDim, int kColumns, typename Row>
__device__ inline void multiply_coded_keys(uint32_t keys, int32_t code_bytes,
                                           const QueryFragments<kHeadDim, kColumns>& q, int lane,
                                           float (&logits)[kColumns][4]) {
  constexpr int kEights = kHeadDim / 32;
  Row upper, lower;
  const uint32_t row = keys + static_cast<uint32_t>(lane / 4 * code_bytes);
  upper.load(row, lane % 4 * kEights);
  lower.load(row + static_cast<uint32_t>(8 * code_bytes), lane % 4 * kEights);
#pragma unroll
  for (int e = 0; e < kEights; ++e) {
    const uint4 a = upper.eight(e);
    const uint4 b = lower.eight(e);
    const uint32_t first[4] = {a.x, b.x, a.y, b.y};
    const uint32_t second[4] = {a.z, b.z, a.w, b.w};
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      mma_m16n8k16(logits[c], first, q[2 * e][c][0], q[2 * e][c][1]);
      mma_m16n8k16(logits[c], second, q[2 * e + 1][c][0], q[2 * e + 1][c][1]);
    }
  }
}

// out^T += V^T p^T, values as a tile.
template <int kHeadDim, int kColumns>
__device__ inline void multiply_values(uint32_t values, const uint32_t (&weights)[kColumns][2],
                                       int lane, Accumulator<kHeadDim, kColumns>& sum) {
  const int row = lane % 8 + lane / 16 * 8;
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    uint32_t a[4];
    // Transposed: matrices are (slots 0-7, d 0-7), (slots 0-7, d 8-15), then slots 8-15.
    ldmatrix_x4_trans(a, values + 2u * tile_chunk<kHeadDim>(row, 2 * d + lane / 8 % 2));
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      mma_m16n8k16(sum.out[d][c], a, weights[c][0], weights[c][1]);
    }
  }
}

// The same of stored codes: lane 4 g + t has an eighth of the coordinates, the g-th, of slots 2t,
// 2t + 1, 2t + 8, 2t + 9, so rows g and g + 8 of product d are coordinates 2d and 2d + 1 of it.
template <int kHeadDim, int kColumns, typename Row>
__device__ inline void multiply_coded_values(uint32_t values, int32_t code_bytes,
                                             const uint32_t (&weights)[kColumns][2], int lane,
                                             Accumulator<kHeadDim, kColumns>& sum) {
  constexpr int kEights = kHeadDim / 64;
  Row rows[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int slot = 2 * (lane % 4) + i % 2 + i / 2 * 8;
    rows[i].load(values + static_cast<uint32_t>(slot * code_bytes), lane / 4 * kEights);
  }
#pragma unroll
  for (int e = 0; e < kEights; ++e) {
    uint32_t low[8], high[8];
    rows[0].pairs(rows[1], e, low);
    rows[2].pairs(rows[3], e, high);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const uint32_t a[4] = {low[2 * i], low[2 * i + 1], high[2 * i], high[2 * i + 1]};
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        mma_m16n8k16(sum.out[4 * e + i][c], a, weights[c][0], weights[c][1]);
      }
    }
  }
}

// One warp's 16 slots: logits^T = K q^T, softmax, out^T += V^T p^T. Without kCoded all of them are
// tiles.
template <int kHeadDim, int kColumns, bool kCoded>
__device__ inline void attend(const SlotReader<kHeadDim>& reader, const DecodeVectors& vectors,
                              const StepScales& scales, float scale,
                              const QueryFragments<kHeadDim, kColumns>& q, int lane,
                              Accumulator<kHeadDim, kColumns>& sum) {
  const DeviceCodec& k_codec = reader.slots->k_codec;
  const DeviceCodec& v_codec = reader.slots->v_codec;
  constexpr int kOfKeys = kHeadDim / 32;
  constexpr int kOfValues = kHeadDim / 64;
  float logits[1][kColumns][4] = {};
  const auto coded_keys = [&]<typename Row>(Row) {
    multiply_coded_keys<kHeadDim, kColumns, Row>(vectors.k, k_codec.code_bytes, q, lane, logits[0]);
  };
  switch (kCoded ? reader.k_form : SlotForm::plain) {
    case SlotForm::plain:
    case SlotForm::tile:
      multiply_keys<kHeadDim, kColumns>(vectors.k, q, lane, logits[0]);
      break;
    case SlotForm::eden1:
      coded_keys(EdenRow<kHeadDim, 1, kOfKeys>{});
      break;
    case SlotForm::eden2:
      coded_keys(EdenRow<kHeadDim, 2, kOfKeys>{});
      break;
    case SlotForm::eden3:
      coded_keys(EdenRow<kHeadDim, 3, kOfKeys>{});
      break;
    case SlotForm::eden4:
      coded_keys(EdenRow<kHeadDim, 4, kOfKeys>{});
      break;
    case SlotForm::fp8:
      coded_keys(ByteRow<Fp8Bytes, kOfKeys>{});
      break;
    case SlotForm::int8:
      coded_keys(ByteRow<Int8Bytes, kOfKeys>{});
      break;
  }
  weigh<kColumns>(scales, k_codec.scaled, scale, lane, logits[0]);
  softmax_step<kHeadDim, kColumns, 1>(logits, sum);
  uint32_t weights[kColumns][2];
  pack_weights<kColumns>(scales, v_codec.scaled, lane, logits[0], weights);
  const auto coded_values = [&]<typename Row>(Row) {
    multiply_coded_values<kHeadDim, kColumns, Row>(vectors.v, v_codec.code_bytes, weights, lane,
                                                   sum);
  };
  switch (kCoded ? reader.v_form : SlotForm::plain) {
    case SlotForm::plain:
    case SlotForm::tile:
      multiply_values<kHeadDim, kColumns>(vectors.v, weights, lane, sum);
      break;
    case SlotForm::eden1:
      coded_values(EdenRow<kHeadDim, 1, kOfValues>{});
      break;
    case SlotForm::eden2:
      coded_values(EdenRow<kHeadDim, 2, kOfValues>{});
      break;
    case SlotForm::eden3:
      coded_values(EdenRow<kHeadDim, 3, kOfValues>{});
      break;
    case SlotForm::eden4:
      coded_values(EdenRow<kHeadDim, 4, kOfValues>{});
      break;
    case SlotForm::fp8:
      coded_values(ByteRow<Fp8Bytes, kOfValues>{});
      break;
    case SlotForm::int8:
      coded_values(ByteRow<Int8Bytes, kOfValues>{});
      break;
  }
}

}  // namespace kvg::cuda
