#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/decode_tile.cuh"
#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/tile.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// The slots of short caches on their way to the tensor cores, for the kernel of
// decode_bank_kernel.cuh.
//
// Every warp is a pipeline of its own through all that it has to read, one KV head after another:
// while it finishes one, the first slots of the next are under way. Warps meet only where a KV head
// has few of them to itself. Exact and recent slots are bf16 and what tensor cores read; summaries
// are f32, become bf16 in registers, and take as much room 8 at a time as others 16.
namespace kvg::cuda {

inline constexpr int kBankDepth = 3;  // steps under way: 24 KB a warp

enum class BankGroup : uint8_t { exact, summary, recent };

// Some slots of one group: 16, or 8 summaries.
struct BankStep {
  BankGroup group;
  int32_t begin, count;
};

// A KV head of a sequence: where its slots are.
struct BankItem {
  const uint8_t* k[3];  // by group, of this KV head
  const uint8_t* v[3];
  const uint8_t* exact_valid;
  const uint8_t* summary_valid;
  const float* log_weight;
  int32_t index;  // sequence * kv_heads + kv_head
  int32_t position;
  int32_t exact, summary, recent;  // readable slots, the new token's included
  int32_t first, capacity;         // of the recent slots

  __device__ int32_t steps() const {
    return (exact + 15) / 16 + (summary + 7) / 8 + (recent + 15) / 16;
  }
  // Past the last one: a step of no slots.
  __device__ BankStep step(int32_t index) const {
    const int32_t of_exact = (exact + 15) / 16;
    if (index < of_exact) return {BankGroup::exact, 16 * index, min(exact - 16 * index, 16)};
    index -= of_exact;
    const int32_t of_summary = (summary + 7) / 8;
    if (index < of_summary) return {BankGroup::summary, 8 * index, min(summary - 8 * index, 8)};
    index -= of_summary;
    return {BankGroup::recent, 16 * index, max(min(recent - 16 * index, 16), 0)};
  }
  __device__ int32_t recent_slot(int32_t index) const {
    const int32_t slot = first + index;
    return slot < capacity ? slot : slot - capacity;
  }
};

__device__ inline BankItem load_item(const DecodeAttentionLaunch& p, int32_t index) {
  const int32_t sequence = index / p.kv_heads;
  const int32_t kv_head = index - sequence * p.kv_heads;
  const DeviceDecodeCache& cache = p.caches[sequence];
  const auto position = static_cast<int32_t>(p.positions[sequence]);
  const DecodeCounts counts = decode_counts(p.slots, position);
  BankItem item;
  const DeviceSlots* const groups[3] = {&cache.landmark.exact, &cache.landmark.summary,
                                        &cache.recent};
#pragma unroll
  for (int g = 0; g < 3; ++g) {
    const int64_t slots = kv_head * groups[g]->capacity;
    item.k[g] = groups[g]->k_codes + slots * groups[g]->k_codec.code_bytes;
    item.v[g] = groups[g]->v_codes + slots * groups[g]->v_codec.code_bytes;
  }
  item.exact_valid = cache.landmark.exact_valid;
  item.summary_valid = cache.landmark.summary_valid;
  item.log_weight = cache.landmark.log_weight;
  item.index = index;
  item.position = position;
  item.exact = counts[DecodeGroup::exact];
  item.summary = counts[DecodeGroup::summary];
  item.recent = counts[DecodeGroup::recent];
  item.capacity = static_cast<int32_t>(cache.recent.capacity);
  item.first = static_cast<int32_t>(static_cast<uint32_t>(p.slots.first_recent(position)) %
                                    static_cast<uint32_t>(cache.recent.capacity));
  return item;
}

template <int kHeadDim>
inline constexpr int kBankStepBytes = 64 * kHeadDim;  // K, then V: halves

// Where 16 bytes of a summary lie in shared memory: rows of `row_bytes`, a multiple of 64.
__device__ inline uint32_t summary_chunk(int row, int row_bytes, int chunk) {
  return static_cast<uint32_t>(row * row_bytes + ((chunk ^ (row & 3)) << 4));
}

// Starts the copies of a step to `to`, by one warp. The new token's slot is left alone: it is not
// stored yet. Rows past the last slot become zeros.
template <int kHeadDim>
__device__ inline void copy_step(const DecodeAttentionLaunch& p, const BankItem& item,
                                 const BankStep& step, uint32_t to, int lane) {
  const auto group = static_cast<int>(step.group);
  const uint8_t* k = item.k[group];
  const uint8_t* v = item.v[group];
  const uint32_t to_v = to + kBankStepBytes<kHeadDim> / 2;
  if (step.group == BankGroup::summary) {
    const int k_bytes = p.summaries.bytes;
    constexpr int kValueBytes = 4 * kHeadDim;
#pragma unroll 2
    for (int row = 0; row < 8; ++row) {
      const int bytes = row < step.count ? 16 : 0;
      const int64_t slot = step.begin + (row < step.count ? row : 0);
      if (16 * lane < k_bytes) {
        cp_async_16(to + summary_chunk(row, k_bytes, lane), k + slot * k_bytes + 16 * lane, bytes);
      }
      if (16 * lane < kValueBytes) {
        cp_async_16(to_v + summary_chunk(row, kValueBytes, lane),
                    v + slot * kValueBytes + 16 * lane, bytes);
      }
    }
    return;
  }
  constexpr int kChunks = kHeadDim / 8;
  constexpr int kRows = 32 / kChunks;  // of one access of the warp
  const int chunk = lane % kChunks;
  const bool recent = step.group == BankGroup::recent;
  const int32_t newest = recent ? item.recent - 1 - step.begin : -1;
#pragma unroll 2
  for (int row = lane / kChunks; row < 16; row += kRows) {
    if (row == newest) continue;
    const bool inside = row < step.count;
    const int32_t index = inside ? step.begin + row : 0;
    const int32_t slot = recent ? item.recent_slot(index) : index;
    const int64_t at = int64_t{slot} * (2 * kHeadDim) + 16 * chunk;
    const auto place = 2 * static_cast<uint32_t>(tile_chunk<kHeadDim>(row, chunk));
    cp_async_16(to + place, k + at, inside ? 16 : 0);
    cp_async_16(to_v + place, v + at, inside ? 16 : 0);
  }
}

// The new token of a KV head, into its slot and into the step that has arrived at `at`.
template <int kHeadDim>
__device__ inline void store_newest(const DecodeAttentionLaunch& p, const BankItem& item,
                                    const BankStep& step, uint32_t at, int lane) {
  constexpr int kChunks = kHeadDim / 8;
  const int row = item.recent - 1 - step.begin;
  const int32_t slot = item.recent_slot(item.recent - 1);
  for (int i = lane; i < 2 * kChunks; i += 32) {
    const bool value = i >= kChunks;
    const int chunk = i % kChunks;
    const auto* from = static_cast<const uint8_t*>(value ? p.v : p.k) +
                       int64_t{item.index} * (2 * kHeadDim) + 16 * chunk;
    const uint4 bytes = *reinterpret_cast<const uint4*>(from);
    const uint8_t* slots = value ? item.v[2] : item.k[2];
    *reinterpret_cast<uint4*>(const_cast<uint8_t*>(slots) + int64_t{slot} * (2 * kHeadDim) +
                              16 * chunk) = bytes;
    const uint32_t to = at + (value ? kBankStepBytes<kHeadDim> / 2 : 0) +
                        2 * static_cast<uint32_t>(tile_chunk<kHeadDim>(row, chunk));
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(bytes.x), "r"(bytes.y),
                 "r"(bytes.z), "r"(bytes.w)
                 : "memory");
  }
}

// What lane l % 16 knows of that slot of a step, as it was loaded, so that nothing waits for it
// before it is used.
struct BankBias {
  uint16_t readable = 0;
  float log_weight = 0;

  __device__ static BankBias load(const BankItem& item, const BankStep& step, int lane) {
    BankBias bias;
    const int32_t index = step.begin + lane % 16;
    const bool inside = lane % 16 < step.count;
    const bool summary = step.group == BankGroup::summary;
    const uint8_t* valid = summary ? item.summary_valid : item.exact_valid;
    bias.readable = inside ? 1 : 0;
    load_if(inside && step.group != BankGroup::recent, valid + index, bias.readable);
    load_if(inside && summary, item.log_weight + index, bias.log_weight);
    return bias;
  }
  // In units of log 2.
  __device__ float value() const { return readable != 0 ? log_weight * kLog2E : -INFINITY; }
};

__device__ inline float2 load_shared_pair(uint32_t at) {
  float2 value;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(value.x), "=f"(value.y) : "r"(at));
  return value;
}
__device__ inline float load_shared_float(uint32_t at) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(at));
  return value;
}

// multiply_keys() of 8 summaries: of their keys only some 16s of coordinates are stored.
template <int kHeadDim>
__device__ inline void multiply_summary_keys(const DecodeAttentionLaunch& p, uint32_t keys,
                                             const QueryFragments<kHeadDim, 1>& q, int lane,
                                             float (&logits)[1][4]) {
  const int g = lane / 4;
  const int t = lane % 4;
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
    const int place = p.summaries.places[k];
    if (place < 0) continue;
    uint32_t a[4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int chunk = 4 * place + 2 * half + t / 2;
      const float2 pair = load_shared_pair(keys + summary_chunk(g, p.summaries.bytes, chunk) +
                                           static_cast<uint32_t>(t % 2 * 8));
      a[2 * half] = pack_bf16(pair.x, pair.y);
    }
    mma_m16n8k16(logits[0], a, q[k][0][0], q[k][0][1]);
  }
}

// multiply_values() of 8 summaries.
template <int kHeadDim>
__device__ inline void multiply_summary_values(uint32_t values, const uint32_t (&weights)[1][2],
                                               int lane, Accumulator<kHeadDim, 1>& sum) {
  const int g = lane / 4;
  const int t = lane % 4;
#pragma unroll
  for (int d = 0; d < kHeadDim / 16; ++d) {
    uint32_t a[4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float of_slot[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        of_slot[i] = load_shared_float(
            values + summary_chunk(2 * t + i, 4 * kHeadDim, 4 * d + 2 * half + g / 4) +
            static_cast<uint32_t>(g % 4 * 4));
      }
      a[half] = pack_bf16(of_slot[0], of_slot[1]);
    }
    mma_m16n8k16(sum.out[d][0], a, weights[0][0], weights[0][1]);
  }
}

// One step: logits^T = K q^T, softmax, out^T += V^T p^T.
template <int kHeadDim>
__device__ inline void attend_step(const DecodeAttentionLaunch& p, const BankStep& step,
                                   const BankBias& bias, uint32_t at,
                                   const QueryFragments<kHeadDim, 1>& q, int lane,
                                   Accumulator<kHeadDim, 1>& sum) {
  const bool summary = step.group == BankGroup::summary;
  float logits[1][1][4] = {};
  if (summary) {
    multiply_summary_keys<kHeadDim>(p, at, q, lane, logits[0]);
  } else {
    multiply_keys<kHeadDim, 1>(at, q, lane, logits[0]);
  }
  const float own = bias.value();
  const float scale = p.scale * kLog2E;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float added = __shfl_sync(0xffffffffu, own, lane / 4 + 8 * half);
#pragma unroll
    for (int i = 2 * half; i < 2 * half + 2; ++i) {
      // Not a product with a mask: what an unreadable slot holds must not matter.
      logits[0][0][i] = added == -INFINITY ? -INFINITY : logits[0][0][i] * scale + added;
    }
  }
  softmax_step<kHeadDim, 1, 1>(logits, sum);
  uint32_t weights[1][2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    weights[0][half] =
        movmatrix_trans(pack_bf16(logits[0][0][2 * half], logits[0][0][2 * half + 1]));
  }
  const uint32_t values = at + kBankStepBytes<kHeadDim> / 2;
  if (summary) {
    multiply_summary_values<kHeadDim>(values, weights, lane, sum);
  } else {
    multiply_values<kHeadDim, 1>(values, weights, lane, sum);
  }
}

}  // namespace kvg::cuda
