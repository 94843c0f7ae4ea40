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
// has few of them to itself. Exact and recent slots are bf16 and what tensor cores read, and so are
// the upper words of summaries, which are f32; the coordinates that their keys lack arrive as
// zeros.
namespace kvg::cuda {

inline constexpr int kBankDepth = 3;  // steps under way: 24 KB a warp

enum class BankGroup : uint8_t { exact, summary, recent };

// Up to 16 slots of one group.
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
    return (exact + 15) / 16 + (summary + 15) / 16 + (recent + 15) / 16;
  }
  // Past the last one: a step of no slots.
  __device__ BankStep step(int32_t index) const {
    const int32_t of_exact = (exact + 15) / 16;
    if (index < of_exact) return {BankGroup::exact, 16 * index, min(exact - 16 * index, 16)};
    index -= of_exact;
    const int32_t of_summary = (summary + 15) / 16;
    if (index < of_summary) return {BankGroup::summary, 16 * index, min(summary - 16 * index, 16)};
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

// Where 16 bytes of the keys' tile are in a stored summary, -1: nowhere.
__device__ inline int summary_chunk(const SummaryKeys& keys, int chunk) {
  const int place = keys.places[chunk / 2];
  return place < 0 ? -1 : 32 * place + chunk % 2 * 16;
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
  constexpr int kChunks = kHeadDim / 8;
  constexpr int kRows = 32 / kChunks;  // of one access of the warp
  const int chunk = lane % kChunks;
  const bool summary = step.group == BankGroup::summary;
  const int k_bytes = summary ? p.summaries.bytes : 2 * kHeadDim;
  const int v_bytes = summary ? 4 * kHeadDim : 2 * kHeadDim;
  const int k_chunk = summary ? summary_chunk(p.summaries, chunk) : 16 * chunk;
  k += max(k_chunk, 0);
  v += 16 * chunk;
  const bool recent = step.group == BankGroup::recent;
  const int32_t newest = recent ? item.recent - 1 - step.begin : -1;
#pragma unroll 2
  for (int row = lane / kChunks; row < 16; row += kRows) {
    if (row == newest) continue;
    const bool inside = row < step.count;
    const int32_t index = inside ? step.begin + row : 0;
    const int32_t slot = recent ? item.recent_slot(index) : index;
    const auto place = 2 * static_cast<uint32_t>(tile_chunk<kHeadDim>(row, chunk));
    cp_async_16(to + place, k + int64_t{slot} * k_bytes, inside && k_chunk >= 0 ? 16 : 0);
    cp_async_16(to_v + place, v + int64_t{slot} * v_bytes, inside ? 16 : 0);
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

// One step: logits^T = K q^T, softmax, out^T += V^T p^T; `scale` in units of log 2.
template <int kHeadDim>
__device__ inline void attend_step(const BankBias& bias, float scale, uint32_t at,
                                   const QueryFragments<kHeadDim, 1>& q, int lane,
                                   Accumulator<kHeadDim, 1>& sum) {
  float logits[1][1][4] = {};
  multiply_keys<kHeadDim, 1>(at, q, lane, logits[0]);
  const float own = bias.value();
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
  multiply_values<kHeadDim, 1>(at + kBankStepBytes<kHeadDim> / 2, weights, lane, sum);
}

}  // namespace kvg::cuda
