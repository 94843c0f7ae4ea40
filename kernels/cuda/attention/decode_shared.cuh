#pragma once

#include "kernels/cuda/attention/decode.h"
#include "kernels/cuda/attention/decode_attend.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// What a block of a decode kernel keeps in shared memory.
namespace kvg::cuda {

// Where this block stands in the grid, and what it reads.
struct DecodePlace {
  int32_t sequence, kv_head, chunk;
  int32_t group_heads;  // of the KV head
  int32_t sink_frame;   // of the queries that meet sinks
  int32_t position;
  int32_t splits;      // that have slots
  uint32_t groups;     // bit g: the block has slots of group g
  DecodeGroup newest;  // has the new token, as its last slot
  bool has_newest;     // so has this block
  DecodeSegment segments[kDecodeGroups];
};

// A block's shared memory: what its warps read slots with (kMemory bytes); whenever all slots of a
// frame are read, the warps' sums.
template <int kHeadDim_, int kColumns_, int kWarps_, size_t kMemory>
struct DecodeShared {
  static constexpr int kHeadDim = kHeadDim_, kColumns = kColumns_, kWarps = kWarps_;
  static constexpr int kQueries = 8 * kColumns;
  static constexpr int kSumStride = kHeadDim + 4;  // so that a warp writes to all banks at once
  static constexpr size_t kSums = sizeof(float) * kWarps * kQueries * kSumStride;

  alignas(128) uint8_t memory[kMemory > kSums ? kMemory : kSums];
  alignas(16) uint2 q[kQueries * kHeadDim / 4];  // load_queries of decode_block.cuh
  alignas(16) uint8_t cache[sizeof(DeviceDecodeCache)];
  alignas(16) int16_t band[kHeadDim];                // of the key codec, if it has one
  float2 stats[kWarps][kQueries];                    // largest logit (log 2), sum of weights
  alignas(16) float block_sums[kQueries][kHeadDim];  // of the frames so far
  float2 block_stats[kQueries];
  DecodePlace place;  // the loops leave no registers to keep it in
  bool last;

  __device__ float* sums(int warp, int query) {
    return reinterpret_cast<float*>(memory) + (warp * kQueries + query) * kSumStride;
  }
};

// A warp's sums into shared memory, by query; `coded`: they are of values that were multiplied as
// stored codes.
template <int kHeadDim, int kColumns, typename Shared>
__device__ inline void keep(const Accumulator<kHeadDim, kColumns>& sum, bool coded, int warp,
                            int lane, Shared& shared) {
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
      const float weight = sum_of_query(sum.weight[c][i]);
      if (g == 0) {
        shared.stats[warp][query] = make_float2(sum.most[c][i], weight);
      }
    }
  }
}

}  // namespace kvg::cuda
