#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/decode_join.cuh"
#include "kernels/cuda/attention/decode_tile.cuh"
#include "kernels/cuda/codec/warp.cuh"
#include "kernels/cuda/dependent_launch.cuh"

#include <cuda_bf16.h>

// The kernel of decode.h. Each head_dim is compiled by itself (decode_hd64.cu, decode_hd128.cu).
namespace kvg::cuda {

namespace {

constexpr int kThreads = 32 * kDecodeWarps;

__device__ const DeviceSlots& group_slots(const DeviceDecodeCache& cache, DecodeGroup group) {
  switch (group) {
    case DecodeGroup::sinks:
      return cache.sinks;
    case DecodeGroup::exact:
      return cache.landmark.exact;
    case DecodeGroup::summary:
      return cache.landmark.summary;
    case DecodeGroup::random:
      return cache.random;
    case DecodeGroup::recent:
      break;
  }
  return cache.recent;
}

// A lane's neighbouring coordinates of a bf16 row.
template <int kPerLane>
__device__ void load_row(const void* rows, int64_t row, int lane, float (&x)[kPerLane]) {
  uint32_t pairs[kPerLane / 2];
  const auto* from = static_cast<const uint32_t*>(rows) + (row * 32 + lane) * (kPerLane / 2);
  if constexpr (kPerLane == 4) {
    const uint2 both = *reinterpret_cast<const uint2*>(from);
    pairs[0] = both.x;
    pairs[1] = both.y;
  } else {
    pairs[0] = *from;
  }
#pragma unroll
  for (int i = 0; i < kPerLane / 2; ++i) {
    x[2 * i] = __uint_as_float(pairs[i] << 16);
    x[2 * i + 1] = __uint_as_float(pairs[i] & 0xffff0000u);
  }
}

// The new token into its slot, by one warp each for K and V, and its gate. Blocks that share a KV
// head write the same bytes.
template <int kHeadDim>
__device__ void store_token(const DecodeAttentionLaunch& p, const DecodePlace& at,
                            const DeviceDecodeCache& cache, const DeviceSlots& slots, int32_t slot,
                            int warp, int lane) {
  if (warp == 2 && lane == 0 && p.gate != nullptr && blockIdx.y == 0) {
    cache.gates[at.position % p.slots.window] = p.gate[at.sequence];
  }
  if (warp >= 2) return;
  const bool value = warp == 1;
  float x[kHeadDim / 32];
  load_row(value ? p.v : p.k, int64_t{at.sequence} * p.kv_heads + at.kv_head, lane, x);
  const DeviceCodec& codec = value ? slots.v_codec : slots.k_codec;
  uint16_t* scales = value ? slots.v_scales : slots.k_scales;
  const int64_t index = int64_t{at.kv_head} * slots.capacity + slot;
  warp_encode<kHeadDim>(codec, p.layer, at.kv_head, value, x,
                        (value ? slots.v_codes : slots.k_codes) + index * codec.code_bytes,
                        scales != nullptr ? scales + index : nullptr);
}

template <int kHeadDim>
__device__ SlotReader<kHeadDim> open_split(const DecodeAttentionLaunch& p, const DecodePlace& at,
                                           const DeviceDecodeCache& cache,
                                           const DeviceSlots& slots) {
  SlotReader<kHeadDim> reader{&slots, at.kv_head, at.split.begin, at.split.end, 0};
  switch (at.split.group) {
    case DecodeGroup::recent:
      reader.first = static_cast<int32_t>(
          static_cast<uint32_t>(p.slots.first_recent(at.position) - p.slots.sinks) %
          static_cast<uint32_t>(slots.capacity));
      break;
    case DecodeGroup::exact:
      reader.valid = cache.landmark.exact_valid;
      break;
    case DecodeGroup::summary:
      reader.valid = cache.landmark.summary_valid;
      reader.log_weight = cache.landmark.log_weight;
      break;
    case DecodeGroup::sinks:
    case DecodeGroup::random:
      break;
  }
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

// Fills the ring; what the launch before this one writes (the new token, queries) is not needed for
// slots that are there already, so they are on their way while it still runs. In the block that has
// the newest slot the new token is stored; plain slots take it from where it comes from, with any
// other codec it is read back as it was stored.
template <int kHeadDim>
__device__ StepScales start_reading(const DecodeAttentionLaunch& p, const DecodePlace& at,
                                    const DeviceDecodeCache& cache,
                                    const SlotReader<kHeadDim>& reader, bool has_newest, int warp,
                                    int lane) {
  const bool plain = reader.k_form == SlotForm::plain && reader.v_form == SlotForm::plain;
  const int32_t newest = has_newest ? at.split.end - 1 : -1;
  StepScales scales;
  if (!has_newest || plain) scales = start_steps(reader, newest, warp, lane);
  wait_for_previous_launch();
  if (!has_newest) return scales;
  store_token<kHeadDim>(p, at, cache, *reader.slots, reader.slot(newest), warp, lane);
  if (!plain) {
    __syncthreads();
    return start_steps(reader, -1, warp, lane);
  }
  const int32_t step = (newest - at.split.begin) / (kDecodeWarps * kStepSlots);
  if (step < reader.depth) {  // otherwise it is read later, from its slot
    const int64_t row = (int64_t{at.sequence} * p.kv_heads + at.kv_head) * kHeadDim;
    reader.put_newest(step, warp, lane, static_cast<const __nv_bfloat16*>(p.k) + row,
                      static_cast<const __nv_bfloat16*>(p.v) + row);
  }
  return scales;
}

// The block's queries as they multiply keys of this group, in shared memory as a tile; rows past
// the last head are zero.
template <int kHeadDim, int kColumns>
__device__ void load_queries(const DecodeAttentionLaunch& p, const DecodePlace& at,
                             const DeviceCodec& codec, int warp, int lane, __nv_bfloat16* q) {
  constexpr int kPerLane = kHeadDim / 32;
  constexpr int kOfWarp = 8 * kColumns / kDecodeWarps;
  const int frame = at.split.group == DecodeGroup::sinks ? p.frames - 1 : 0;
  const int64_t row = int64_t{frame} * p.sequences + at.sequence;
  const int group_heads = p.heads / p.kv_heads;
  float x[kOfWarp][kPerLane] = {};
#pragma unroll
  for (int i = 0; i < kOfWarp; ++i) {
    const int query = at.chunk * 8 * kColumns + warp + i * kDecodeWarps;
    const int head = p.streams == 2 ? query / 2 : query;
    const int stream = p.streams == 2 ? query % 2 : 0;
    if (head >= group_heads) continue;
    load_row(p.q, (row * p.streams + stream) * p.heads + at.kv_head * group_heads + head, lane,
             x[i]);
  }
  const WarpRotation<kHeadDim> rotation(codec, p.layer, at.kv_head, /*value=*/false);
  const int column = lane * kPerLane;
#pragma unroll
  for (int i = 0; i < kOfWarp; ++i) {
    rotation.apply(x[i]);
    auto* to = q + tile_chunk<kHeadDim>(warp + i * kDecodeWarps, column / 8) + column % 8;
#pragma unroll
    for (int j = 0; j < kPerLane; j += 2) {
      *reinterpret_cast<uint32_t*>(to + j) = pack_bf16(x[i][j], x[i][j + 1]);
    }
  }
}

// The queries of a tile as second operands of mma, for keys as tiles or as stored codes.
template <int kHeadDim, int kColumns>
__device__ void query_fragments(const __nv_bfloat16* tile, bool coded, int lane,
                                QueryFragments<kHeadDim, kColumns>& q) {
  const int t = lane % 4;
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = coded ? kHeadDim / 4 * t + 4 * k + 2 * i : 16 * k + 8 * i + 2 * t;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        q[k][c][i] = *reinterpret_cast<const uint32_t*>(
            tile + tile_chunk<kHeadDim>(8 * c + lane / 4, column / 8) + column % 8);
      }
    }
  }
}

// A warp's share of the split.
template <int kHeadDim, int kColumns, bool kCoded>
__device__ void attend_split(const SlotReader<kHeadDim>& reader, StepScales scales, float scale,
                             const QueryFragments<kHeadDim, kColumns>& q, const int16_t* band,
                             int warp, int lane, Accumulator<kHeadDim, kColumns>& sum) {
#pragma unroll
  for (int c = 0; c < kColumns; ++c) sum.most[c][0] = sum.most[c][1] = -INFINITY;
  const int32_t steps = reader.steps(warp);
  int32_t place = 0;
#pragma unroll 1
  for (int32_t i = 0; i < steps; ++i) {
    const StepScales next = reader.scales(i + 1, warp, lane);
    wait_for_step(reader.depth);
    __syncwarp();
    const DecodeVectors vectors = reader.vectors(i, place, warp, lane, band);
    attend<kHeadDim, kColumns, kCoded>(reader, vectors, scales, scale, q, lane, sum);
    __syncwarp();
    if (i + reader.depth < steps) reader.start(i + reader.depth, place, warp, lane);
    cp_async_commit();
    place = place + 1 == reader.depth ? 0 : place + 1;
    scales = next;
  }
}

// kCoded: whether some store has a codec whose codes go to tensor cores as they are.
template <int kHeadDim, int kColumns, bool kCoded>
__global__ void __launch_bounds__(kThreads, kHeadDim == 128 && kColumns == 1 ? 3 : 2)
    decode_attention_kernel(const __grid_constant__ DecodeAttentionLaunch p) {
  extern __shared__ __align__(128) uint8_t raw[];
  auto& shared = *reinterpret_cast<DecodeShared<kHeadDim, kColumns>*>(raw);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  allow_next_launch();
  DecodePlace at;
  at.sequence = static_cast<int32_t>(blockIdx.z);
  at.kv_head = static_cast<int32_t>(blockIdx.y) / p.grid.chunks;
  at.chunk = static_cast<int32_t>(blockIdx.y) % p.grid.chunks;
  static_assert(sizeof(DeviceDecodeCache) % 8 == 0);
  for (int i = static_cast<int>(threadIdx.x); i < static_cast<int>(sizeof(DeviceDecodeCache) / 8);
       i += kThreads) {
    reinterpret_cast<uint64_t*>(shared.cache)[i] =
        reinterpret_cast<const uint64_t*>(p.caches + at.sequence)[i];
  }
  at.position = static_cast<int32_t>(p.positions[at.sequence]);
  const DecodeCounts counts = decode_counts(p.slots, at.position);
  at.split = decode_split(counts, p.grid.splits, static_cast<int32_t>(blockIdx.x));
  if (static_cast<int32_t>(blockIdx.x) >= at.split.used) return;
  const bool in_sinks = at.position < p.slots.sinks;
  const bool has_newest =
      at.split.group == (in_sinks ? DecodeGroup::sinks : DecodeGroup::recent) &&
      at.split.end == (in_sinks ? counts[DecodeGroup::sinks] : counts[DecodeGroup::recent]);
  __syncthreads();

  const auto& cache = *reinterpret_cast<const DeviceDecodeCache*>(shared.cache);
  const DeviceSlots& slots = group_slots(cache, at.split.group);
  SlotReader<kHeadDim> reader = open_split<kHeadDim>(p, at, cache, slots);
  reader.lay_out(shared.memory + warp * kWarpBytes);
  const StepScales scales = start_reading(p, at, cache, reader, has_newest, warp, lane);
  load_queries<kHeadDim, kColumns>(p, at, slots.k_codec, warp, lane, shared.q);
  if (slots.k_codec.band_index != nullptr && threadIdx.x < kHeadDim) {
    shared.band[threadIdx.x] = slots.k_codec.band_index[threadIdx.x];
  }
  __syncthreads();
  QueryFragments<kHeadDim, kColumns> q;
  query_fragments<kHeadDim, kColumns>(shared.q, kCoded && !is_tile(reader.k_form), lane, q);
  Accumulator<kHeadDim, kColumns> sum = {};
  attend_split<kHeadDim, kColumns, kCoded>(reader, scales, p.scale * kLog2E, q, shared.band, warp,
                                           lane, sum);
  cp_async_wait<0>();
  __syncthreads();
  keep(sum, kCoded && !is_tile(reader.v_form), warp, lane, shared);
  __syncthreads();
  const WarpRotation<kHeadDim> rotation(slots.v_codec, p.layer, at.kv_head, /*value=*/true);
  if (p.grid.clustered || at.split.used == 1) {
    finish_in_cluster(p, at, rotation, warp, lane, shared);
  } else {
    finish_in_last(p, at, rotation, warp, lane, shared);
  }
}

template <int kHeadDim, int kColumns>
cudaError_t launch_shape(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  const auto kernel = p.coded ? decode_attention_kernel<kHeadDim, kColumns, true>
                              : decode_attention_kernel<kHeadDim, kColumns, false>;
  constexpr int kBytes = static_cast<int>(sizeof(DecodeShared<kHeadDim, kColumns>));
  const cudaError_t status =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (status != cudaSuccess) return status;
  cudaLaunchAttribute attributes[2]{};
  unsigned count = 0;
  if (p.overlaps) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (p.grid.clustered) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(p.grid.splits);
    attributes[count].val.clusterDim.y = 1;
    attributes[count++].val.clusterDim.z = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim =
      dim3(static_cast<unsigned>(p.grid.splits), static_cast<unsigned>(p.kv_heads * p.grid.chunks),
           static_cast<unsigned>(p.sequences));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, p);
}

template <int kHeadDim>
cudaError_t launch_head_dim(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  if (p.grid.queries == 8) return launch_shape<kHeadDim, 1>(p, stream);
  if (p.grid.queries == 16) return launch_shape<kHeadDim, 2>(p, stream);
  return cudaErrorInvalidValue;
}

}  // namespace

}  // namespace kvg::cuda
