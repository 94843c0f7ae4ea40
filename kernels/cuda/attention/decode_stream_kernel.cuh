#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_block.cuh"
#include "kernels/cuda/attention/decode_stream.cuh"

#include <cuda_bf16.h>

// The kernel of decode.h where all stores have one dense codec. Each head_dim is compiled by itself
// (decode_stream_hd64.cu, decode_stream_hd128.cu).
namespace kvg::cuda {

namespace {

constexpr int kStreamThreads = 32 * kStreamWarps;

template <int kHeadDim, int kColumns, typename Codes>
struct StreamShared : DecodeShared<kHeadDim, kColumns, kStreamWarps, Codes::kTableBytes> {
  StreamSource source;
};

// By all threads; the source is complete after the next synchronisation.
template <typename Codes, typename Shared>
__device__ CodeStream<Codes> open_stream(const DecodeAttentionLaunch& p,
                                         const DecodeSegment& segment, int warp, int lane,
                                         Shared& shared) {
  const auto& cache = *reinterpret_cast<const DeviceDecodeCache*>(shared.cache);
  const DeviceSlots& slots = group_slots(cache, segment.group);
  const int64_t head = shared.place.kv_head * slots.capacity;
  if (threadIdx.x == 0) {
    shared.source = {slots.k_codec.scaled ? slots.k_scales + head : nullptr,
                     slots.v_codec.scaled ? slots.v_scales + head : nullptr,
                     static_cast<int32_t>(slots.capacity),
                     first_slot(p, shared.place.position, segment.group, slots), segment.group};
  }
  CodeStream<Codes> stream;
  stream.k = slots.k_codes + head * Codes::kCodeBytes;
  stream.v = slots.v_codes + head * Codes::kCodeBytes;
  stream.source = shared_u32(&shared.source);
  stream.begin = segment.begin + warp * CodeStream<Codes>::kSlots;
  stream.end = segment.end;
  stream.lane = lane;
  return stream;
}

// Queries in the frame of the source's keys. The copies are opaque, so that what follows from them
// is computed again for every segment instead of being kept in registers.
template <int kHeadDim, int kColumns, typename Codec, typename Shared>
__device__ void turn_queries(const DecodeAttentionLaunch& p, int warp, int lane, Shared& shared) {
  const auto& cache = *reinterpret_cast<const DeviceDecodeCache*>(shared.cache);
  asm volatile("" : "+r"(warp), "+r"(lane));
  QueryRows<kHeadDim, kColumns, kStreamWarps> rows;
  rows.load(p, shared.place, shared.source.group, warp, lane);
  rows.store(p, shared.place, Codec::of(group_slots(cache, shared.source.group).k_codec),
             QueryOrder::coded, warp, lane, shared.q);
  __syncthreads();
}

// The queries in shared memory as Codes multiply them.
template <int kHeadDim, int kColumns, typename Codes>
__device__ void stream_fragments(const uint2* shared, int lane,
                                 QueryFragments<kHeadDim, kColumns>& q) {
  query_fragments<kHeadDim, kColumns>(shared, lane, q);
  if constexpr (!Codes::kNatural) {
#pragma unroll
    for (int k = 0; k < kHeadDim / 16; ++k) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        const uint32_t low = q[k][c][0];
        q[k][c][0] = prmt(low, q[k][c][1], 0x5410u);
        q[k][c][1] = prmt(low, q[k][c][1], 0x7632u);
      }
    }
  }
}

template <int kHeadDim, int kColumns, typename Codes>
__global__ void __launch_bounds__(kStreamThreads, kColumns == 1 ? 2 : 1)
    decode_stream_kernel(const __grid_constant__ DecodeAttentionLaunch p) {
  extern __shared__ __align__(128) uint8_t raw[];
  using Shared = StreamShared<kHeadDim, kColumns, Codes>;
  auto& shared = *reinterpret_cast<Shared*>(raw);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  allow_next_launch();
  if (!find_place(p, shared)) return;

  const DecodePlace& at = shared.place;
  const auto& cache = *reinterpret_cast<const DeviceDecodeCache*>(shared.cache);
  CodeStream<Codes> stream;
  StreamStep<Codes> step;
  {
    const DecodeSegment& segment = at.segments[next_group(at, 0)];
    stream = open_stream<Codes>(p, segment, warp, lane, shared);
    __syncthreads();
    const bool newest_first = has_newest(at, segment.group);
    if (!newest_first) stream.start(step);
    Codes::make_table(shared.memory, warp, kStreamWarps, lane);
    wait_for_previous_launch();
    if (at.has_newest) {
      store_token<kHeadDim, typename Codes::Codec>(p, at, cache, warp, lane);
      __syncthreads();
      if (newest_first) stream.start(step);
    }
  }
  turn_queries<kHeadDim, kColumns, typename Codes::Codec>(p, warp, lane, shared);
  Accumulator<kHeadDim, kColumns> sum;
  clear(sum);
#pragma unroll 1
  while (true) {
    QueryFragments<kHeadDim, kColumns> q;
    stream_fragments<kHeadDim, kColumns, Codes>(shared.q, lane, q);
    attend_stream<kHeadDim, kColumns>(stream, Codes(shared.memory, lane), step, p.scale * kLog2E, q,
                                      sum);
    const int group = next_group(at, static_cast<int>(shared.source.group) + 1);
    if (group == kDecodeGroups) break;
    __syncthreads();  // queries and source have been read
    stream = open_stream<Codes>(p, at.segments[group], warp, lane, shared);
    __syncthreads();
    turn_queries<kHeadDim, kColumns, typename Codes::Codec>(p, warp, lane, shared);
    stream.start(step);
  }
  // All stores have one codec, so their values are in one frame.
  fold(p, Codes::Codec::of(group_slots(cache, shared.source.group).v_codec), /*coded=*/true,
       /*first=*/true, warp, lane, sum, shared);
  finish_block(p, warp, lane, shared);
}

template <int kHeadDim, typename Codes>
cudaError_t launch_codes(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  if (p.grid.queries == 8) {
    return launch_blocks(decode_stream_kernel<kHeadDim, 1, Codes>, kStreamThreads,
                         sizeof(StreamShared<kHeadDim, 1, Codes>), p, stream);
  }
  if (p.grid.queries == 16) {
    return launch_blocks(decode_stream_kernel<kHeadDim, 2, Codes>, kStreamThreads,
                         sizeof(StreamShared<kHeadDim, 2, Codes>), p, stream);
  }
  return cudaErrorInvalidValue;
}

template <int kHeadDim>
cudaError_t launch_stream(const DecodeAttentionLaunch& p, cudaStream_t stream) {
  switch (p.kernel) {
    case DecodeKernel::eden2:
      return launch_codes<kHeadDim, EdenStream<kHeadDim, 2>>(p, stream);
    case DecodeKernel::eden4:
      return launch_codes<kHeadDim, EdenStream<kHeadDim, 4>>(p, stream);
    case DecodeKernel::fp8:
      return launch_codes<kHeadDim, ByteStream<kHeadDim, Fp8Stream>>(p, stream);
    case DecodeKernel::int8:
      return launch_codes<kHeadDim, ByteStream<kHeadDim, Int8Stream>>(p, stream);
    case DecodeKernel::plain:
    case DecodeKernel::bank:
    case DecodeKernel::mixed:
      break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace

}  // namespace kvg::cuda
