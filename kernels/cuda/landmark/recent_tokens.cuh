#pragma once

#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/vectors.cuh"
#include "kernels/cuda/landmark/work.cuh"

#include <cstdint>

namespace kvg::cuda {

// The tokens that leave the window at a decode step, row 0 of position `first`, as the recent slots
// have them.
struct RecentTokens {
  const DeviceDecodeCache& cache;
  const DeviceDecodePlan& plan;
  int32_t layer;
  int64_t first;

  __device__ SlotPlace place(int row, int kv_head, bool value) const {
    const int64_t slot = (position(row) - plan.sinks) % cache.recent.capacity;
    return slot_place(cache.recent, kv_head, slot, value);
  }

  // One vector, to one warp.
  template <int kDim>
  __device__ LaneVector<kDim> load(int row, int kv_head, bool value) const {
    const SlotPlace slot = place(row, kv_head, value);
    LaneVector<kDim> x = decode_vector<kDim>(*slot.codec, slot.codes, slot.scale);
    if (slot.codec->rotates) {
      x = rotate_vector<kDim>(*slot.codec, {layer, kv_head, value}, x, true);
    }
    const Rounding round{true};
#pragma unroll
    for (int i = 0; i < kLaneWidth<kDim>; ++i) x[i] = round(x[i]);
    return x;
  }
  __device__ float gate(int row) const { return cache.gates[position(row) % plan.window]; }
  __device__ int64_t position(int row) const { return first + row; }
};

}  // namespace kvg::cuda
