#pragma once

#include "kernels/cuda/landmark/work.cuh"

#include <cstdint>

// In which order the tokens of an eviction are offered: order[rank] = token, by counting for
// each token those before it. Tokens count from 0.
namespace kvg::cuda {

// Gate descending, then match ascending (null: no difference), then as they came. Returns whether
// any gates are equal. Synchronises.
inline __device__ __noinline__ bool order_by_gate(const float* gate, int32_t* order, int tokens,
                                                  const float* match) {
  bool equal = false;
  for (int i = static_cast<int>(threadIdx.x); i < tokens; i += kLandmarkThreads) {
    order[i] = i;  // stays where gates are NaN and ranks make no sense
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < tokens; i += kLandmarkThreads) {
    int rank = 0;
    for (int j = 0; j < tokens; ++j) {
      const bool same = gate[j] == gate[i] && j != i;
      equal |= same;
      const bool first = match == nullptr || match[j] == match[i] ? j < i : match[j] < match[i];
      rank += gate[j] > gate[i] || (same && first) ? 1 : 0;
    }
    order[rank] = i;
  }
  return __syncthreads_or(equal ? 1 : 0) != 0;
}

// The best k: those above the k-th gate as they came, then its equals as they came.
// LandmarkOrder::index.
__device__ inline void order_by_index(const LandmarkWork& w, int tokens, int k) {
  const float* gate = w.gate();
  order_by_gate(gate, w.order(), tokens, nullptr);
  const float least = gate[w.order()[k - 1]];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < tokens; i += kLandmarkThreads) {
    const bool above = gate[i] > least;
    if (!above && gate[i] != least) continue;
    int rank = 0;
    for (int j = 0; j < tokens; ++j) {
      const bool before =
          above ? gate[j] > least && j < i : gate[j] > least || (gate[j] == least && j < i);
      rank += before ? 1 : 0;
    }
    if (rank < k) w.order()[rank] = i;
  }
  __syncthreads();
}

}  // namespace kvg::cuda
