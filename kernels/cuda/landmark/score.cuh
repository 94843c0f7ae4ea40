#pragma once

#include "kernels/cuda/landmark/work.cuh"

#include <cstdint>

// Similarities of the tokens of a chunk with rows of unit vectors: each CTA adds up its own heads,
// then the cluster takes the mean over all.
namespace kvg::cuda {

// Unit vectors [heads, rows, stride], of which `count` from `first` on count.
struct UnitRows {
  const float* data;
  int rows, first, count;
};

// One call of sum_products(): `count` tokens, [heads, rows, stride], and what they are compared
// with.
struct Products {
  UnitRows tokens, units;
  int heads, stride, quads;
  Rounding round;
  float* part;  // of token 0 and the first of `units`
  int columns;  // from one token to the next
};

// part[t, i] = sum over heads of <token t, unit i>. One thread adds up a whole product, in an order
// that depends on nothing else.
template <int kGroups>
__device__ __noinline__ void sum_products(Products p) {
  const int group = lane_id() / 8;
  for (int base = warp_id() * 8; base < p.units.count; base += kLandmarkWarps * 8) {
    const int column = min(base + lane_id() % 8, p.units.count - 1);
    float sums[kGroups] = {};
    for (int head = 0; head < p.heads; ++head) {
      const auto* unit = reinterpret_cast<const float4*>(
          p.units.data + (head * p.units.rows + p.units.first + column) * p.stride);
      const float4* token[kGroups];
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        const int t = min(4 * g + group, p.tokens.count - 1);
        token[g] =
            reinterpret_cast<const float4*>(p.tokens.data + (head * p.tokens.rows + t) * p.stride);
      }
      float4 dot[kGroups] = {};
#pragma unroll 4
      for (int quad = 0; quad < p.quads; ++quad) {
        const float4 b = unit[quad];
#pragma unroll
        for (int g = 0; g < kGroups; ++g) {
          const float4 a = token[g][quad];
          dot[g].x += a.x * b.x;
          dot[g].y += a.y * b.y;
          dot[g].z += a.z * b.z;
          dot[g].w += a.w * b.w;
        }
      }
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        sums[g] += p.round((dot[g].x + dot[g].y) + (dot[g].z + dot[g].w));
      }
    }
    if (base + lane_id() % 8 >= p.units.count) continue;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const int t = 4 * g + group;
      if (t < p.tokens.count) p.part[t * p.columns + column] = sums[g];
    }
  }
}

// Where the next exchange takes sums from.
__device__ inline float* next_part(const LandmarkWork& w) {
  return w.at<float>(w.layout.part[w.parity]);
}

// `tokens` of the chunk against rows; `column` is that of the first row.
__device__ inline void score_rows(const LandmarkWork& w, bool values, int tokens,
                                  const UnitRows& units, int column) {
  const LandmarkLayout& l = w.layout;
  const Products products{{w.at<float>(values ? l.token_value : l.token_key), l.chunk, 0, tokens},
                          units,
                          w.heads,
                          values ? l.value_stride : l.key_stride,
                          values ? l.shape.head_dim / 4 : (l.shape.band + 3) / 4,
                          w.round,
                          next_part(w) + column,
                          l.columns};
  if (tokens <= 4) {
    sum_products<1>(products);
  } else {
    sum_products<4>(products);
  }
}

struct Exchange {
  const float* part;
  float* score;
  int ctas, kv_heads;
  int columns;            // from one token to the next
  int count, begin, end;  // tokens, columns
  Rounding round;
};

inline __device__ __noinline__ void take_means(Exchange e) {
  if (e.ctas > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }
  const int width = e.end - e.begin;
  for (int i = static_cast<int>(threadIdx.x); i < e.count * width; i += kLandmarkThreads) {
    const int at = i / width * e.columns + e.begin + i % width;
    float sum = 0;
    for (int rank = 0; rank < e.ctas; ++rank) sum += peer_memory(e.part, rank)[at];
    e.score[at] = e.round(sum / static_cast<float>(e.kv_heads));
  }
  __syncthreads();
}

// Means over all heads in columns [begin, end), for all threads. The parts take turns, so that none
// is written while another CTA still reads it: that CTA has to come to the next exchange first.
__device__ inline void exchange(LandmarkWork& w, int count, int begin, int end) {
  const LandmarkLayout& l = w.layout;
  const float* part = next_part(w);
  w.parity ^= 1;
  take_means({part, w.at<float>(l.score), l.shape.ctas, l.shape.kv_heads, l.columns, count, begin,
              end, w.round});
}

}  // namespace kvg::cuda
