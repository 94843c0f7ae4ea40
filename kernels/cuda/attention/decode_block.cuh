#pragma once

#include "kernels/cuda/attention/codec_sets.cuh"
#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/decode_join.cuh"
#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/codec/warp.cuh"
#include "kernels/cuda/dependent_launch.cuh"

#include <cuda_bf16.h>

// What the blocks of all decode kernels do before they read slots, and how they are launched.
namespace kvg::cuda {

__device__ inline const DeviceSlots& group_slots(const DeviceDecodeCache& cache,
                                                 DecodeGroup group) {
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
__device__ inline void load_row(const void* rows, int64_t row, int lane, float (&x)[kPerLane]) {
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

// The slot of the store at which the group's slot 0 is.
__device__ inline int32_t first_slot(const DecodeAttentionLaunch& p, int32_t position,
                                     DecodeGroup group, const DeviceSlots& slots) {
  if (group != DecodeGroup::recent) return 0;
  return static_cast<int32_t>(
      static_cast<uint32_t>(p.slots.first_recent(position) - p.slots.sinks) %
      static_cast<uint32_t>(slots.capacity));
}

// Whether a segment of this block ends with the new token.
__device__ inline bool has_newest(const DecodePlace& at, DecodeGroup group) {
  return at.has_newest && group == at.newest;
}

// The first group from number `from` on of which the block has slots; kDecodeGroups: none.
__device__ inline int next_group(const DecodePlace& at, int from) {
  const uint32_t rest = at.groups >> from << from;
  return rest != 0 ? __ffs(static_cast<int>(rest)) - 1 : kDecodeGroups;
}

// The new token into its slot, by one warp each for K and V, and its gate. Blocks that share a KV
// head write the same bytes.
template <int kHeadDim, typename Codecs>
__device__ inline void store_token(const DecodeAttentionLaunch& p, const DecodePlace& at,
                                   const DeviceDecodeCache& cache, int warp, int lane) {
  const DeviceSlots& slots = group_slots(cache, at.newest);
  const auto capacity = static_cast<int32_t>(slots.capacity);
  int32_t slot = first_slot(p, at.position, at.newest, slots) +
                 at.segments[static_cast<int>(at.newest)].end - 1;
  if (slot >= capacity) slot -= capacity;
  if (warp == 2 && lane == 0 && p.gate != nullptr && blockIdx.y == 0) {
    cache.gates[at.position % p.slots.window] = p.gate[at.sequence];
  }
  if (warp >= 2) return;
  const bool value = warp == 1;
  float x[kHeadDim / 32];
  load_row(value ? p.v : p.k, int64_t{at.sequence} * p.kv_heads + at.kv_head, lane, x);
  const auto& codec = Codecs::of(value ? slots.v_codec : slots.k_codec);
  uint16_t* scales = value ? slots.v_scales : slots.k_scales;
  const int64_t index = int64_t{at.kv_head} * slots.capacity + slot;
  warp_encode<kHeadDim>(codec, p.layer, at.kv_head, value, x,
                        (value ? slots.v_codes : slots.k_codes) + index * codec.code_bytes,
                        scales != nullptr ? scales + index : nullptr);
}

// Where this block stands, and the table of its sequence's caches, in shared memory. False: there
// is nothing to do.
template <typename Shared>
__device__ inline bool find_place(const DecodeAttentionLaunch& p, Shared& shared) {
  const int thread = static_cast<int>(threadIdx.x);
  const auto sequence = static_cast<int32_t>(blockIdx.z);
  static_assert(sizeof(DeviceDecodeCache) % 8 == 0);
  for (int i = thread; i < static_cast<int>(sizeof(DeviceDecodeCache) / 8);
       i += 32 * Shared::kWarps) {
    reinterpret_cast<uint64_t*>(shared.cache)[i] =
        reinterpret_cast<const uint64_t*>(p.caches + sequence)[i];
  }
  const auto position = static_cast<int32_t>(p.positions[sequence]);
  const DecodeCounts counts = decode_counts(p.slots, position);
  const DecodeSplit split = decode_split(counts, p.grid.splits, static_cast<int32_t>(blockIdx.x));
  if (static_cast<int32_t>(blockIdx.x) >= split.used) return false;
  if (thread == 0) {
    DecodePlace& at = shared.place;
    at.sequence = sequence;
    at.kv_head = static_cast<int32_t>(blockIdx.y) / p.grid.chunks;
    at.chunk = static_cast<int32_t>(blockIdx.y) % p.grid.chunks;
    at.group_heads = p.heads / p.kv_heads;
    at.sink_frame = p.frames - 1;
    at.position = position;
    at.splits = split.used;
    at.newest = position < p.slots.sinks ? DecodeGroup::sinks : DecodeGroup::recent;
    at.groups = 0;
    at.has_newest = false;
#pragma unroll
    for (int g = 0; g < kDecodeGroups; ++g) {
      const auto group = static_cast<DecodeGroup>(g);
      const DecodeSegment segment = decode_segment(counts, split, group);
      at.segments[g] = segment;
      if (segment.empty()) continue;
      at.groups |= 1u << g;
      if (group == at.newest) at.has_newest = segment.end == counts.of[g];
    }
  }
  __syncthreads();
  return true;
}

// Whether vectors of both codecs, at the same site, are in the same frame.
__device__ inline bool same_frame(const DeviceCodec& a, const DeviceCodec& b) {
  if (!a.rotates || !b.rotates) return a.rotates == b.rotates;
  return a.rotation == b.rotation && a.seed == b.seed && a.haar == b.haar;
}

// Which pairs of coordinates the registers of mma's second operand have, lane = 4 g + t.
enum class QueryOrder : uint8_t {
  tile,   // 16 k + 8 i + 2 t, as for keys in a tile
  coded,  // d/4 t + 4 k + 2 i: a lane has neighbouring coordinates, as of stored codes
};

// A warp's rows of the block's queries; those past the last head are zero.
template <int kHeadDim, int kColumns, int kWarps>
struct QueryRows {
  static constexpr int kPerLane = kHeadDim / 32;
  static constexpr int kOfWarp = 8 * kColumns / kWarps;
  float x[kOfWarp][kPerLane];

  __device__ void load(const DecodeAttentionLaunch& p, const DecodePlace& at, DecodeGroup group,
                       int warp, int lane) {
    const int frame = group == DecodeGroup::sinks ? at.sink_frame : 0;
    const int64_t row = int64_t{frame} * p.sequences + at.sequence;
#pragma unroll
    for (int i = 0; i < kOfWarp; ++i) {
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) x[i][j] = 0;
      const int query = at.chunk * 8 * kColumns + warp + i * kWarps;
      const int head = p.streams == 2 ? query / 2 : query;
      const int stream = p.streams == 2 ? query % 2 : 0;
      if (head >= at.group_heads) continue;
      load_row(p.q, (row * p.streams + stream) * p.heads + at.kv_head * at.group_heads + head, lane,
               x[i]);
    }
  }

  // In the frame of a group's keys, in shared memory as the second operands of mma: the two
  // registers of step k, column tile c and each lane lie at q[(k kColumns + c) 32 + lane].
  __device__ void store(const DecodeAttentionLaunch& p, const DecodePlace& at,
                        const DeviceCodec& codec, QueryOrder order, int warp, int lane, uint2* q) {
    const WarpRotation<kHeadDim> rotation(codec, p.layer, at.kv_head, /*value=*/false);
#pragma unroll
    for (int i = 0; i < kOfWarp; ++i) {
      rotation.apply(x[i]);
      const int query = warp + i * kWarps;
#pragma unroll
      for (int j = 0; j < kPerLane; j += 2) {
        const int column = lane * kPerLane + j;
        const bool coded = order == QueryOrder::coded;
        const int k = coded ? column % (kHeadDim / 4) / 4 : column / 16;
        const int half = coded ? column % 4 / 2 : column % 16 / 8;
        const int t = coded ? column / (kHeadDim / 4) : column % 8 / 2;
        const int pair = (k * kColumns + query / 8) * 32 + query % 8 * 4 + t;
        reinterpret_cast<uint32_t*>(q)[2 * pair + half] = pack_bf16(x[i][j], x[i][j + 1]);
      }
    }
  }
};

template <int kHeadDim, int kColumns>
__device__ inline void query_fragments(const uint2* shared, int lane,
                                       QueryFragments<kHeadDim, kColumns>& q) {
#pragma unroll
  for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      const uint2 pair = shared[(k * kColumns + c) * 32 + lane];
      q[k][c][0] = pair.x;
      q[k][c][1] = pair.y;
    }
  }
}

using DecodeEntry = void (*)(DecodeAttentionLaunch);

inline cudaError_t launch_blocks(DecodeEntry kernel, int threads, size_t shared_bytes,
                                 const DecodeAttentionLaunch& p, cudaStream_t stream) {
  const cudaError_t status = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
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
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, p);
}

}  // namespace kvg::cuda
