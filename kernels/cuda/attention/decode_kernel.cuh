#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/decode_block.cuh"
#include "kernels/cuda/attention/decode_tile.cuh"

#include <type_traits>

#include <cuda_bf16.h>

// The kernel of decode.h for stores of any codecs. Each head_dim is compiled by itself
// (decode_hd64.cu, decode_hd128.cu).
namespace kvg::cuda {

namespace {

constexpr int kThreads = 32 * kDecodeWarps;

template <int kHeadDim>
__device__ SlotReader<kHeadDim> open_segment(const DecodeAttentionLaunch& p, const DecodePlace& at,
                                             const DeviceDecodeCache& cache,
                                             const DeviceSlots& slots, const DecodeSegment& segment,
                                             uint8_t* warp_memory) {
  SlotReader<kHeadDim> reader{&slots, at.kv_head, segment.begin, segment.end,
                              first_slot(p, at.position, segment.group, slots)};
  if (segment.group == DecodeGroup::exact) reader.valid = cache.landmark.exact_valid;
  if (segment.group == DecodeGroup::summary) {
    reader.valid = cache.landmark.summary_valid;
    reader.log_weight = cache.landmark.log_weight;
  }
  reader.lay_out(warp_memory);
  return reader;
}

template <int kHeadDim>
__device__ StepScales start_steps(const SlotReader<kHeadDim>& reader, int32_t skip, int warp,
                                  int lane) {
  const int32_t steps = reader.steps(warp);
#pragma unroll 1
  for (int32_t i = 0; i < reader.depth; ++i) {
    if (i < steps) reader.start(i, i, warp, lane, skip);
    cp_async_commit();
  }
  return reader.scales(0, warp, lane);
}

// Fills the ring with the block's first segment, loads the queries and stores the new token where
// the block has it. What the launch before this one writes (the new token, queries) is not needed
// for slots that are there already, so they are on their way while it still runs. Plain slots take
// the new token from where it comes from; with any other codec it is read back as it was stored.
template <int kHeadDim, typename Codecs, typename Rows, typename Shared>
__device__ StepScales start_block(const DecodeAttentionLaunch& p, const DecodeSegment& segment,
                                  const SlotReader<kHeadDim>& reader, int warp, int lane,
                                  Rows& rows, const Shared& shared) {
  const DecodePlace& at = shared.place;
  const bool plain = reader.k_form == SlotForm::plain && reader.v_form == SlotForm::plain;
  const bool newest = has_newest(at, segment.group);
  StepScales scales;
  if (!newest || plain) scales = start_steps(reader, newest ? reader.end - 1 : -1, warp, lane);
  wait_for_previous_launch();
  rows.load(p, at, segment.group, warp, lane);
  if (!at.has_newest) return scales;
  const auto& cache = *reinterpret_cast<const DeviceDecodeCache*>(shared.cache);
  store_token<kHeadDim, Codecs>(p, at, cache, warp, lane);
  if (!newest) return scales;
  if (!plain) {
    __syncthreads();
    return start_steps(reader, -1, warp, lane);
  }
  const int32_t step = (reader.end - 1 - reader.begin) / (kDecodeWarps * kStepSlots);
  if (step < reader.depth) {  // otherwise it is read later, from its slot
    const int64_t row = (int64_t{at.sequence} * p.kv_heads + at.kv_head) * kHeadDim;
    reader.put_newest(step, warp, lane, static_cast<const __nv_bfloat16*>(p.k) + row,
                      static_cast<const __nv_bfloat16*>(p.v) + row);
  }
  return scales;
}

// A warp's share of a segment.
template <int kHeadDim, int kColumns, bool kCoded, typename Codecs>
__device__ void attend_segment(const SlotReader<kHeadDim>& reader, StepScales scales, float scale,
                               const QueryFragments<kHeadDim, kColumns>& q, const int16_t* band,
                               int warp, int lane, Accumulator<kHeadDim, kColumns>& sum) {
  const int32_t steps = reader.steps(warp);
  int32_t place = 0;
#pragma unroll 1
  for (int32_t i = 0; i < steps; ++i) {
    const StepScales next = reader.scales(i + 1, warp, lane);
    wait_for_step(reader.depth);
    __syncwarp();
    const DecodeVectors vectors = reader.template vectors<Codecs>(i, place, warp, lane, band);
    attend<kHeadDim, kColumns, kCoded>(reader, vectors, scales, scale, q, lane, sum);
    __syncwarp();
    if (i + reader.depth < steps) reader.start(i + reader.depth, place, warp, lane);
    cp_async_commit();
    place = place + 1 == reader.depth ? 0 : place + 1;
    scales = next;
  }
}

// The keys' band in shared memory. All threads are past the segment before it.
template <typename Shared>
__device__ void load_band(const DeviceCodec& codec, Shared& shared) {
  if (codec.band_index != nullptr && threadIdx.x < Shared::kHeadDim) {
    shared.band[threadIdx.x] = codec.band_index[threadIdx.x];
  }
}

// kCoded: whether some store has a codec whose codes go to tensor cores as they are.
template <int kHeadDim, int kColumns, bool kCoded>
__global__ void __launch_bounds__(kThreads, kHeadDim == 128 && kColumns == 1 ? 3 : 2)
    decode_attention_kernel(const __grid_constant__ DecodeAttentionLaunch p) {
  extern __shared__ __align__(128) uint8_t raw[];
  using Shared = DecodeShared<kHeadDim, kColumns, kDecodeWarps, kWarpBytes * kDecodeWarps>;
  using Codecs = std::conditional_t<kCoded, AnyCodec, PlainCodecs>;
  auto& shared = *reinterpret_cast<Shared*>(raw);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  allow_next_launch();
  if (!find_place(p, shared)) return;

  const DecodePlace& at = shared.place;
  const auto& cache = *reinterpret_cast<const DeviceDecodeCache*>(shared.cache);
  uint8_t* memory = shared.memory + warp * kWarpBytes;
  int group = next_group(at, 0);
  const DeviceSlots* slots = &group_slots(cache, static_cast<DecodeGroup>(group));
  SlotReader<kHeadDim> reader =
      open_segment<kHeadDim>(p, at, cache, *slots, at.segments[group], memory);
  load_band(slots->k_codec, shared);
  QueryRows<kHeadDim, kColumns, kDecodeWarps> rows;
  StepScales scales =
      start_block<kHeadDim, Codecs>(p, at.segments[group], reader, warp, lane, rows, shared);
  const auto order_of = [](SlotForm keys) {
    return kCoded && !is_tile(keys) ? QueryOrder::coded : QueryOrder::tile;
  };
  QueryOrder order = order_of(reader.k_form);
  rows.store(p, at, Codecs::of(slots->k_codec), order, warp, lane, shared.q);
  Accumulator<kHeadDim, kColumns> sum;
  clear(sum);
  bool folded = false;
#pragma unroll 1
  while (true) {
    const bool coded = kCoded && !is_tile(reader.v_form);
    __syncthreads();
    QueryFragments<kHeadDim, kColumns> q;
    query_fragments<kHeadDim, kColumns>(shared.q, lane, q);
    attend_segment<kHeadDim, kColumns, kCoded, Codecs>(reader, scales, p.scale * kLog2E, q,
                                                       shared.band, warp, lane, sum);
    cp_async_wait<0>();
    const int before = group;
    const DeviceSlots* last = slots;
    group = next_group(at, before + 1);
    if (group == kDecodeGroups) {
      fold(p, Codecs::of(last->v_codec), coded, !folded, warp, lane, sum, shared);
      break;
    }
    slots = &group_slots(cache, static_cast<DecodeGroup>(group));
    reader = open_segment<kHeadDim>(p, at, cache, *slots, at.segments[group], memory);
    if (coded != (kCoded && !is_tile(reader.v_form)) ||
        !same_frame(last->v_codec, slots->v_codec)) {
      fold(p, Codecs::of(last->v_codec), coded, !folded, warp, lane, sum, shared);
      folded = true;
    }
    scales = start_steps(reader, -1, warp, lane);
    const bool same_queries = before != static_cast<int>(DecodeGroup::sinks) &&
                              same_frame(last->k_codec, slots->k_codec) &&
                              order == order_of(reader.k_form);
    if (same_queries && slots->k_codec.band_index == nullptr) continue;
    order = order_of(reader.k_form);
    rows.load(p, at, static_cast<DecodeGroup>(group), warp, lane);
    __syncthreads();  // the ones that are replaced have been read
    load_band(slots->k_codec, shared);
    rows.store(p, at, Codecs::of(slots->k_codec), order, warp, lane, shared.q);
  }
  finish_block(p, warp, lane, shared);
}

template <int kHeadDim, int kColumns>
cudaError_t launch_shape(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  constexpr size_t kBytes =
      sizeof(DecodeShared<kHeadDim, kColumns, kDecodeWarps, kWarpBytes * kDecodeWarps>);
  return launch_blocks(p.kernel == DecodeKernel::plain
                           ? decode_attention_kernel<kHeadDim, kColumns, false>
                           : decode_attention_kernel<kHeadDim, kColumns, true>,
                       kThreads, kBytes, p, stream);
}

template <int kHeadDim>
cudaError_t launch_head_dim(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  if (p.grid.queries == 8) return launch_shape<kHeadDim, 1>(p, stream);
  if (p.grid.queries == 16) return launch_shape<kHeadDim, 2>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace

}  // namespace kvg::cuda
