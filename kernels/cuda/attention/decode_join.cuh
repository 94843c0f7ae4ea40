#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"
#include "kernels/cuda/codec/warp.cuh"
#include "kernels/cuda/landmark/cluster.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// From the sums of warps to the output: warps are joined into their block, blocks (splits) into
// heads, always in the same order.
namespace kvg::cuda {

// Where this block stands in the grid, and what it reads.
struct DecodePlace {
  int32_t sequence, kv_head, chunk;
  int32_t position;
  DecodeSplit split;
};

// A block's shared memory: the pipeline of slots; once they are read, the warps' sums.
template <int kHeadDim, int kColumns>
struct DecodeShared {
  static constexpr int kQueries = 8 * kColumns;
  static constexpr int kSumStride = kHeadDim + 4;  // so that a warp writes to all banks at once
  static constexpr size_t kSums = sizeof(float) * kDecodeWarps * kQueries * kSumStride;
  static constexpr size_t kPipeline = kWarpBytes * kDecodeWarps;

  alignas(128) uint8_t memory[kPipeline > kSums ? kPipeline : kSums];
  alignas(16) __nv_bfloat16 q[kQueries * kHeadDim];
  alignas(16) uint8_t cache[sizeof(DeviceDecodeCache)];
  alignas(16) int16_t band[kHeadDim];    // of the key codec, if it has one
  float2 stats[kDecodeWarps][kQueries];  // largest logit (log 2), sum of weights
  bool last;

  __device__ float* sums(int warp, int query) {
    return reinterpret_cast<float*>(memory) + (warp * kQueries + query) * kSumStride;
  }
};

// A warp's sums into shared memory, by query; `coded`: they are of values that were multiplied as
// stored codes.
template <int kHeadDim, int kColumns>
__device__ inline void keep(const Accumulator<kHeadDim, kColumns>& sum, bool coded, int warp,
                            int lane, DecodeShared<kHeadDim, kColumns>& shared) {
  const int g = lane / 4;
  const int t = lane % 4;
  // Coordinate of row g of product d, and how much further row g + 8 is.
  const int begin = coded ? kHeadDim / 8 * g : g;
  const int step = coded ? 2 : 16;
  const int lower = coded ? 1 : 8;
#pragma unroll
  for (int c = 0; c < kColumns; ++c) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int query = 8 * c + 2 * t + i;
      float* to = shared.sums(warp, query);
#pragma unroll
      for (int d = 0; d < kHeadDim / 16; ++d) {
        to[begin + step * d] = sum.out[d][c][i];
        to[begin + step * d + lower] = sum.out[d][c][i + 2];
      }
      float weight = sum.weight[c][i];
#pragma unroll
      for (int offset = 4; offset < 32; offset *= 2) {
        weight += __shfl_xor_sync(0xffffffffu, weight, offset);
      }
      if (g == 0) {
        shared.stats[warp][query] = make_float2(sum.most[c][i], weight);
      }
    }
  }
}

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
    // Several loads under way at once: with many splits this is the end of every launch.
#pragma unroll 4
    for (int i = 0; i < of_round; ++i) {
#pragma unroll
      for (int q = 0; q < kQueries; ++q) {
        float other[kPerLane];
        from.load(begin + i, query + q, other);
        const float by = __shfl_sync(kWarp, factor[q], i);
#pragma unroll
        for (int j = 0; j < kPerLane; ++j) sums[q].out[j] += by * other[j];
      }
    }
  }
}

// The warps of this block.
template <int kHeadDim, int kColumns>
struct FromWarps {
  DecodeShared<kHeadDim, kColumns>& shared;
  int lane;
  __device__ float2 stats(int warp, int query) const { return shared.stats[warp][query]; }
  __device__ void load(int warp, int query, float (&out)[kHeadDim / 32]) const {
    load_lane(shared.sums(warp, query) + lane * (kHeadDim / 32), out);
  }
};

// The blocks of this cluster, each of which has left its sums where its warp 0 had them.
template <int kHeadDim, int kColumns>
struct FromCluster {
  DecodeShared<kHeadDim, kColumns>& shared;
  int lane;
  __device__ float2 stats(int rank, int query) const {
    return *reinterpret_cast<const float2*>(peer_memory(&shared.stats[0][query].x, rank));
  }
  __device__ void load(int rank, int query, float (&out)[kHeadDim / 32]) const {
    load_lane(peer_memory(shared.sums(0, query) + lane * (kHeadDim / 32), rank), out);
  }
};

// The blocks that have handed in their sums to the workspace.
template <int kHeadDim>
struct FromWorkspace {
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
  const int group_heads = p.heads / p.kv_heads;
  const int chunk_heads = 8 * kColumns / p.streams;
  for (int h = first; h < chunk_heads; h += stride) {
    const int head = at.chunk * chunk_heads + h;
    if (head >= group_heads) break;
    Partial<kHeadDim / 32> streams[2] = {};
    if (p.streams == 2) {
      join<2>(from, at.split.used, 2 * h, lane, streams);
    } else {
      Partial<kHeadDim / 32> only[1];
      join<1>(from, at.split.used, h, lane, only);
      streams[0] = only[0];
    }
    finish_head<kHeadDim>(p, at, at.kv_head * group_heads + head, streams, lane);
  }
}

// Blocks of one cluster, or a single one, read each other's sums and share the heads.
template <int kHeadDim, int kColumns>
__device__ inline void finish_in_cluster(const DecodeAttentionLaunch& p, const DecodePlace& at,
                                         const WarpRotation<kHeadDim>& rotation, int warp, int lane,
                                         DecodeShared<kHeadDim, kColumns>& shared) {
  const FromWarps<kHeadDim, kColumns> warps{shared, lane};
  for (int query = warp; query < 8 * kColumns; query += kDecodeWarps) {
    Partial<kHeadDim / 32> sum[1];
    join<1>(warps, kDecodeWarps, query, lane, sum);
    rotation.apply_transposed(sum[0].out);
    __syncwarp();
    store_lane(shared.sums(0, query) + lane * (kHeadDim / 32), sum[0].out);
    if (lane == 0) shared.stats[0][query] = make_float2(sum[0].most, sum[0].weight);
  }
  cluster_sync();
  const FromCluster<kHeadDim, kColumns> blocks{shared, lane};
  const int rank = static_cast<int>(blockIdx.x);
  finish<kHeadDim, kColumns>(p, at, blocks, rank + warp * at.split.used,
                             kDecodeWarps * at.split.used, lane);
  cluster_sync();  // shared memory stays until it has been read
}

// The block's sums go to the workspace; the one that comes last finds those of all splits there.
template <int kHeadDim, int kColumns>
__device__ inline void finish_in_last(const DecodeAttentionLaunch& p, const DecodePlace& at,
                                      const WarpRotation<kHeadDim>& rotation, int warp, int lane,
                                      DecodeShared<kHeadDim, kColumns>& shared) {
  const int64_t head = (int64_t{at.sequence} * p.kv_heads + at.kv_head) * p.grid.chunks + at.chunk;
  const FromWarps<kHeadDim, kColumns> warps{shared, lane};
  const FromWorkspace<kHeadDim> splits{p, head, lane};
  for (int query = warp; query < 8 * kColumns; query += kDecodeWarps) {
    Partial<kHeadDim / 32> sum[1];
    join<1>(warps, kDecodeWarps, query, lane, sum);
    rotation.apply_transposed(sum[0].out);
    splits.store(static_cast<int>(blockIdx.x), query, sum[0]);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* counter = p.workspace.counters + head;
    shared.last = atomicAdd(counter, 1u) + 1 == static_cast<unsigned>(at.split.used);
    if (shared.last) *counter = 0;
    __threadfence();
  }
  __syncthreads();
  if (shared.last) finish<kHeadDim, kColumns>(p, at, splits, warp, kDecodeWarps, lane);
}

}  // namespace kvg::cuda
