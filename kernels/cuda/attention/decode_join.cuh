#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/attention/decode_shared.cuh"
#include "kernels/cuda/codec/warp.cuh"
#include "kernels/cuda/landmark/cluster.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// From the sums of warps to the output: warps are joined into their block, for each frame of values
// in turn, blocks (splits) into heads, always in the same order.
namespace kvg::cuda {

// Neighbouring coordinates of a lane, in one access.
template <int kPerLane>
struct alignas(4 * kPerLane) LaneFloats {
  float x[kPerLane];
};

template <int kPerLane>
__device__ inline void load_lane(const float* from, float (&to)[kPerLane]) {
  const auto floats = *reinterpret_cast<const LaneFloats<kPerLane>*>(from);
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) to[i] = floats.x[i];
}

// The same past the first-level cache, for what other blocks of the launch have written.
template <int kPerLane>
__device__ inline void load_lane_global(const float* from, float (&to)[kPerLane]) {
  if constexpr (kPerLane == 4) {
    const float4 x = __ldcg(reinterpret_cast<const float4*>(from));
    to[0] = x.x;
    to[1] = x.y;
    to[2] = x.z;
    to[3] = x.w;
  } else {
    static_assert(kPerLane == 2);
    const float2 x = __ldcg(reinterpret_cast<const float2*>(from));
    to[0] = x.x;
    to[1] = x.y;
  }
}

template <int kPerLane>
__device__ inline void store_lane(float* to, const float (&from)[kPerLane]) {
  LaneFloats<kPerLane> floats;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) floats.x[i] = from[i];
  *reinterpret_cast<LaneFloats<kPerLane>*>(to) = floats;
}

// One query's partial softmax; a lane has kPerLane neighbouring coordinates of the sum.
template <int kPerLane>
struct Partial {
  float out[kPerLane];
  float most, weight;
};

// The partials of kQueries neighbouring queries, each of all `count` sources together, in their
// order; from.stats(i, query) and from.load(i, query, out) give one of them.
template <int kQueries, int kPerLane, typename Source>
__device__ inline void join(const Source& from, int count, int query, int lane,
                            Partial<kPerLane> (&sums)[kQueries]) {
  float reference[kQueries];
#pragma unroll
  for (int q = 0; q < kQueries; ++q) {
    sums[q] = {};
    float most = -INFINITY;
    for (int i = lane; i < count; i += 32) most = fmaxf(most, from.stats(i, query + q).x);
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      most = fmaxf(most, __shfl_xor_sync(kWarp, most, offset));
    }
    sums[q].most = most;
    reference[q] = most == -INFINITY ? 0.0f : most;
  }
  for (int begin = 0; begin < count; begin += 32) {
    float factor[kQueries];  // of source begin + lane
#pragma unroll
    for (int q = 0; q < kQueries; ++q) {
      factor[q] = 0;
      float weight = 0;
      if (begin + lane < count) {
        const float2 stats = from.stats(begin + lane, query + q);
        factor[q] = exp2_approx(stats.x - reference[q]);
        weight = factor[q] * stats.y;
      }
#pragma unroll
      for (int offset = 16; offset > 0; offset /= 2) {
        weight += __shfl_xor_sync(kWarp, weight, offset);
      }
      sums[q].weight += weight;
    }
    const int of_round = min(32, count - begin);
    // Several loads under way at once: with many splits this is the end of every launch. Those
    // beyond the last source repeat it and do not count.
    for (int i = 0; i < of_round; i += Source::kAtOnce) {
      float other[Source::kAtOnce][kQueries][kPerLane];
#pragma unroll
      for (int j = 0; j < Source::kAtOnce; ++j) {
#pragma unroll
        for (int q = 0; q < kQueries; ++q) {
          from.load(begin + min(i + j, of_round - 1), query + q, other[j][q]);
        }
      }
#pragma unroll
      for (int j = 0; j < Source::kAtOnce; ++j) {
#pragma unroll
        for (int q = 0; q < kQueries; ++q) {
          const float by = __shfl_sync(kWarp, factor[q], (i + j) % 32);
          if (i + j >= of_round) continue;
#pragma unroll
          for (int x = 0; x < kPerLane; ++x) sums[q].out[x] += by * other[j][q][x];
        }
      }
    }
  }
}

// The warps of this block.
template <typename Shared>
struct FromWarps {
  static constexpr int kAtOnce = 4;
  static constexpr int kHeadDim = Shared::kHeadDim;
  Shared& shared;
  int lane;
  __device__ float2 stats(int warp, int query) const { return shared.stats[warp][query]; }
  __device__ void load(int warp, int query, float (&out)[kHeadDim / 32]) const {
    load_lane(shared.sums(warp, query) + lane * (kHeadDim / 32), out);
  }
};

// This block alone.
template <typename Shared>
struct FromBlock {
  static constexpr int kHeadDim = Shared::kHeadDim;
  static constexpr int kAtOnce = 1;
  Shared& shared;
  int lane;
  __device__ float2 stats(int, int query) const { return shared.block_stats[query]; }
  __device__ void load(int, int query, float (&out)[kHeadDim / 32]) const {
    load_lane(shared.block_sums[query] + lane * (kHeadDim / 32), out);
  }
};

// The blocks of this cluster.
template <typename Shared>
struct FromCluster {
  static constexpr int kAtOnce = 8;
  static constexpr int kHeadDim = Shared::kHeadDim;
  Shared& shared;
  int lane;
  __device__ float2 stats(int rank, int query) const {
    return *reinterpret_cast<const float2*>(peer_memory(&shared.block_stats[query].x, rank));
  }
  __device__ void load(int rank, int query, float (&out)[kHeadDim / 32]) const {
    load_lane(peer_memory(shared.block_sums[query] + lane * (kHeadDim / 32), rank), out);
  }
};

// The blocks that have handed in their sums to the workspace.
template <int kHeadDim>
struct FromWorkspace {
  static constexpr int kAtOnce = 8;
  const DecodeAttentionLaunch& p;
  int64_t head;  // of the workspace
  int lane;
  __device__ int64_t row(int split, int query) const {
    return (head * p.grid.splits + split) * p.grid.queries + query;
  }
  __device__ float2 stats(int split, int query) const {
    return __ldcg(reinterpret_cast<const float2*>(p.workspace.stats) + row(split, query));
  }
  __device__ void load(int split, int query, float (&out)[kHeadDim / 32]) const {
    load_lane_global(p.workspace.sums + row(split, query) * kHeadDim + lane * (kHeadDim / 32), out);
  }
  __device__ void store(int split, int query, const Partial<kHeadDim / 32>& sum) const {
    store_lane(p.workspace.sums + row(split, query) * kHeadDim + lane * (kHeadDim / 32), sum.out);
    if (lane == 0) {
      reinterpret_cast<float2*>(p.workspace.stats)[row(split, query)] =
          make_float2(sum.most, sum.weight);
    }
  }
};

// out = o_0 - lambda o_1, head norm, one store.
template <int kHeadDim>
__device__ inline void finish_head(const DecodeAttentionLaunch& p, const DecodePlace& at, int head,
                                   const Partial<kHeadDim / 32> (&streams)[2], int lane) {
  constexpr int kPerLane = kHeadDim / 32;
  const int64_t row = int64_t{at.sequence} * p.heads + head;
  const float first = streams[0].weight > 0 ? 1.0f / streams[0].weight : 0.0f;
  float second = 0;
  if (p.streams == 2 && streams[1].weight > 0) second = p.lambda[row] / streams[1].weight;
  float out[kPerLane];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    out[i] = first * streams[0].out[i];
    if (p.streams == 2) out[i] -= second * streams[1].out[i];
    squares += out[i] * out[i];
  }
  if (p.head_norm != nullptr) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      squares += __shfl_xor_sync(0xffffffffu, squares, offset);
    }
    const float factor = rsqrtf(squares / kHeadDim + p.head_norm_eps);
    const auto* weight = static_cast<const __nv_bfloat16*>(p.head_norm) + lane * kPerLane;
#pragma unroll
    for (int i = 0; i < kPerLane; ++i) out[i] *= factor * __bfloat162float(weight[i]);
  }
  auto* to = static_cast<__nv_bfloat16*>(p.out) + row * kHeadDim + lane * kPerLane;
#pragma unroll
  for (int i = 0; i < kPerLane; i += 2) {
    *reinterpret_cast<uint32_t*>(to + i) = pack_bf16(out[i], out[i + 1]);
  }
}

// The heads of this chunk of which this block is in charge, a warp each: every `stride`-th one
// from `first`.
template <int kHeadDim, int kColumns, typename Source>
__device__ void finish(const DecodeAttentionLaunch& p, const DecodePlace& at, const Source& from,
                       int first, int stride, int lane) {
  const int group_heads = at.group_heads;
  const int chunk_heads = 8 * kColumns / p.streams;
  for (int h = first; h < chunk_heads; h += stride) {
    const int head = at.chunk * chunk_heads + h;
    if (head >= group_heads) break;
    Partial<kHeadDim / 32> streams[2] = {};
    if (p.streams == 2) {
      join<2>(from, at.splits, 2 * h, lane, streams);
    } else {
      Partial<kHeadDim / 32> only[1];
      join<1>(from, at.splits, h, lane, only);
      streams[0] = only[0];
    }
    finish_head<kHeadDim>(p, at, at.kv_head * group_heads + head, streams, lane);
  }
}

// What the block's warps have summed up so far, brought back from the frame of its values, onto the
// block's sums; the warps start again from nothing. Every warp has queries of its own.
template <typename Shared>
__device__ inline void fold(const DecodeAttentionLaunch& p, const DeviceCodec& v_codec, bool coded,
                            bool first, int warp, int lane,
                            Accumulator<Shared::kHeadDim, Shared::kColumns>& sum, Shared& shared) {
  constexpr int kHeadDim = Shared::kHeadDim;
  constexpr int kPerLane = kHeadDim / 32;
  __syncthreads();
  keep(sum, coded, warp, lane, shared);
  __syncthreads();
  const FromWarps<Shared> warps{shared, lane};
  const WarpRotation<kHeadDim> rotation(v_codec, p.layer, shared.place.kv_head, /*value=*/true);
  for (int query = warp; query < Shared::kQueries; query += Shared::kWarps) {
    Partial<kPerLane> part[1];
    join<1>(warps, Shared::kWarps, query, lane, part);
    rotation.apply_transposed(part[0].out);
    float* sums = shared.block_sums[query] + lane * kPerLane;
    if (!first) {
      const float2 stats = shared.block_stats[query];
      const float most = fmaxf(part[0].most, stats.x);
      const float reference = most == -INFINITY ? 0.0f : most;
      const float by = exp2_approx(part[0].most - reference);
      const float other_by = exp2_approx(stats.x - reference);
      float other[kPerLane];
      load_lane(sums, other);
#pragma unroll
      for (int i = 0; i < kPerLane; ++i) part[0].out[i] = by * part[0].out[i] + other_by * other[i];
      part[0].weight = by * part[0].weight + other_by * stats.y;
      part[0].most = most;
      __syncwarp();
    }
    store_lane(sums, part[0].out);
    if (lane == 0) shared.block_stats[query] = make_float2(part[0].most, part[0].weight);
    __syncwarp();
  }
  clear(sum);
  __syncthreads();
}

// Blocks of one cluster read each other's sums and share the heads.
template <typename Shared>
__device__ inline void finish_in_cluster(const DecodeAttentionLaunch& p, int warp, int lane,
                                         Shared& shared) {
  const int used = shared.place.splits;
  cluster_sync();
  const FromCluster<Shared> blocks{shared, lane};
  const int rank = static_cast<int>(blockIdx.x);
  finish<Shared::kHeadDim, Shared::kColumns>(p, shared.place, blocks, rank + warp * used,
                                             Shared::kWarps * used, lane);
  cluster_sync();  // shared memory stays until it has been read
}

// The block's sums go to the workspace; the one that comes last finds those of all splits there.
template <typename Shared>
__device__ inline void finish_in_last(const DecodeAttentionLaunch& p, int warp, int lane,
                                      Shared& shared) {
  constexpr int kHeadDim = Shared::kHeadDim;
  const DecodePlace& at = shared.place;
  const int64_t head = (int64_t{at.sequence} * p.kv_heads + at.kv_head) * p.grid.chunks + at.chunk;
  const FromWorkspace<kHeadDim> splits{p, head, lane};
  for (int query = warp; query < Shared::kQueries; query += Shared::kWarps) {
    Partial<kHeadDim / 32> sum;
    load_lane(shared.block_sums[query] + lane * (kHeadDim / 32), sum.out);
    sum.most = shared.block_stats[query].x;
    sum.weight = shared.block_stats[query].y;
    splits.store(static_cast<int>(blockIdx.x), query, sum);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* counter = p.workspace.counters + head;
    shared.last = atomicAdd(counter, 1u) + 1 == static_cast<unsigned>(at.splits);
    if (shared.last) *counter = 0;
    __threadfence();
  }
  __syncthreads();
  if (shared.last) {
    finish<kHeadDim, Shared::kColumns>(p, at, splits, warp, Shared::kWarps, lane);
  }
}

// From the sums of blocks to the output.
template <typename Shared>
__device__ inline void finish_block(const DecodeAttentionLaunch& p, int warp, int lane,
                                    Shared& shared) {
  if (p.grid.clustered) {
    finish_in_cluster(p, warp, lane, shared);
  } else if (shared.place.splits > 1) {
    finish_in_last(p, warp, lane, shared);
  } else {
    finish<Shared::kHeadDim, Shared::kColumns>(p, shared.place, FromBlock<Shared>{shared, lane},
                                               warp, Shared::kWarps, lane);
  }
}

}  // namespace kvg::cuda
