#pragma once

#include "kernels/cuda/decode_state.h"
#include "kernels/cuda/landmark/cluster.cuh"
#include "kernels/cuda/landmark/layout.h"
#include "kernels/cuda/landmark/vectors.cuh"
#include "kernels/landmark.h"

#include <cstdint>

namespace kvg::cuda {

inline constexpr int kLandmarkWarps = kLandmarkThreads / 32;

// What every part of the bank update works with: the CTA's place in the cluster and its shared
// memory (layout.h).
struct LandmarkWork {
  unsigned char* shared;
  const LandmarkLayout& layout;
  const LandmarkRules& rules;
  Rounding round;
  int32_t layer;
  int rank;        // in the cluster
  int first_head;  // KV heads [first_head, first_head + heads) are this CTA's; may be none
  int heads;
  int parity = 0;  // which of the two parts the next exchange uses

  __device__ LandmarkWork(unsigned char* shared_, const LandmarkLayout& layout_,
                          const LandmarkRules& rules_, int32_t layer_)
      : shared(shared_),
        layout(layout_),
        rules(rules_),
        round{rules_.bf16_arithmetic},
        layer(layer_),
        rank(layout_.shape.ctas > 1 ? cluster_rank() : 0),
        first_head(min(rank * layout_.heads, layout_.shape.kv_heads)),
        heads(min(layout_.heads, layout_.shape.kv_heads - first_head)) {}

  template <typename T>
  __device__ T* at(uint32_t offset) const {
    return reinterpret_cast<T*>(shared + offset);
  }
  __device__ const DeviceLandmarkBank& bank() const {
    return *at<const DeviceLandmarkBank>(layout.bank);
  }
  __device__ float eta(int head) const { return at<float>(layout.eta)[head]; }
  __device__ int band_index(int dim) const { return at<int16_t>(layout.band_index)[dim]; }

  __device__ bool has_exact() const { return layout.shape.exact > 0; }
  __device__ bool has_summary() const { return layout.shape.summary > 0; }
  __device__ bool all_exact_rows() const { return layout.exact_rows == layout.shape.exact; }
  __device__ bool all_summary_rows() const { return layout.summary_rows == layout.shape.summary; }

  // Rows of unit vectors; `head` counts from first_head.
  __device__ float* token_value(int head, int i) const {
    return at<float>(layout.token_value) + (head * layout.chunk + i) * layout.value_stride;
  }
  __device__ float* token_kept(int head, int i) const {
    return at<float>(layout.token_kept) + (head * layout.chunk + i) * layout.value_stride;
  }
  __device__ float* token_key(int head, int i) const {
    return at<float>(layout.token_key) + (head * layout.chunk + i) * layout.key_stride;
  }
  __device__ float* exact_unit(int head, int row) const {
    return at<float>(layout.exact_unit) + (head * layout.exact_rows + row) * layout.value_stride;
  }
  __device__ float* summary_unit(int head, int row) const {
    return at<float>(layout.summary_unit) + (head * layout.summary_rows + row) * layout.key_stride;
  }
  // Similarities of token i of the chunk.
  __device__ float* exact_score(int i) const {
    return at<float>(layout.score) + i * layout.columns;
  }
  __device__ float* kept_score(int i) const { return exact_score(i) + layout.shape.exact; }
  __device__ float* summary_score(int i) const { return kept_score(i) + layout.chunk; }

  __device__ uint8_t* exact_valid() const { return at<uint8_t>(layout.exact_valid); }
  __device__ uint8_t* summary_valid() const { return at<uint8_t>(layout.summary_valid); }
  __device__ int64_t* stamps() const { return at<int64_t>(layout.stamps); }
  __device__ float* gate() const { return at<float>(layout.gate); }
  __device__ int32_t* order() const { return at<int32_t>(layout.order); }
  __device__ int32_t* target() const { return at<int32_t>(layout.target); }
};

__device__ inline int warp_id() { return static_cast<int>(threadIdx.x / 32); }

// Codes and scale of one slot and head, K or V.
struct SlotPlace {
  const DeviceCodec* codec;
  uint8_t* codes;
  uint16_t* scale;
};
__device__ inline SlotPlace slot_place(const DeviceSlots& slots, int kv_head, int64_t slot,
                                       bool value) {
  const DeviceCodec& codec = value ? slots.v_codec : slots.k_codec;
  const int64_t at = kv_head * slots.capacity + slot;
  uint16_t* scales = value ? slots.v_scales : slots.k_scales;
  return {&codec, (value ? slots.v_codes : slots.k_codes) + at * codec.code_bytes,
          scales != nullptr ? scales + at : nullptr};
}

// The coordinates in the slow dimensions, side by side, into a row of shared memory; zeros up to a
// multiple of four.
template <int kDim>
__device__ inline void store_band(const LandmarkWork& w, float* row, const LaneVector<kDim>& x) {
#pragma unroll
  for (int i = 0; i < kLaneWidth<kDim>; ++i) {
    const int at = w.band_index(lane_id() * kLaneWidth<kDim> + i);
    if (at >= 0) row[at] = x[i];
  }
  const int end = w.layout.shape.band + lane_id();
  if (end < (w.layout.shape.band + 3) / 4 * 4) row[end] = 0;
}

// Zero outside the slow dimensions.
template <int kDim>
__device__ inline void keep_band(const LandmarkWork& w, LaneVector<kDim>& x) {
#pragma unroll
  for (int i = 0; i < kLaneWidth<kDim>; ++i) {
    if (w.band_index(lane_id() * kLaneWidth<kDim> + i) < 0) x[i] = 0;
  }
}

}  // namespace kvg::cuda
