#pragma once

#include "kernels/cuda/landmark/work.cuh"

#include <cstdint>

// Choices among slots, by one warp; all lanes get the same answer.
namespace kvg::cuda {

// The slot with the highest similarity, the first of equals.
struct LandmarkMatch {
  float score = -1e9f;
  int32_t slot = 0;
  bool any = false;  // some slot took part
};

// valid null: all slots take part.
__device__ inline LandmarkMatch warp_best(const float* scores, const uint8_t* valid, int slots) {
  LandmarkMatch best;
  for (int m = lane_id(); m < slots; m += 32) {
    if (valid != nullptr && valid[m] == 0) continue;
    if (!best.any || scores[m] > best.score) best = {scores[m], m, true};
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    LandmarkMatch other;
    other.score = __shfl_xor_sync(kWarp, best.score, offset);
    other.slot = __shfl_xor_sync(kWarp, best.slot, offset);
    other.any = __shfl_xor_sync(kWarp, static_cast<int>(best.any), offset) != 0;
    const bool better =
        other.score > best.score || (other.score == best.score && other.slot < best.slot);
    if (other.any && (!best.any || better)) best = other;
  }
  // NaN compares with nothing; lane 0 then speaks for all.
  best.score = __shfl_sync(kWarp, best.score, 0);
  best.slot = __shfl_sync(kWarp, best.slot, 0);
  best.any = __shfl_sync(kWarp, static_cast<int>(best.any), 0) != 0;
  return best;
}

// Age of an exact slot: the lowest goes first, and a free slot before all.
__device__ inline int64_t slot_age(const LandmarkWork& w, int slot) {
  return w.exact_valid()[slot] != 0 ? w.stamps()[slot] : int64_t{-1};
}

// The exact slot that is given up next, never a sink's; -1: none.
__device__ inline int warp_victim(const LandmarkWork& w) {
  int64_t age = INT64_MAX;
  int slot = -1;
  for (int m = static_cast<int>(w.rules.sinks) + lane_id(); m < w.layout.shape.exact; m += 32) {
    if (slot < 0 || slot_age(w, m) < age) {
      slot = m;
      age = slot_age(w, m);
    }
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const int64_t other_age = __shfl_xor_sync(kWarp, age, offset);
    const int other = __shfl_xor_sync(kWarp, slot, offset);
    if (other >= 0 && (slot < 0 || other_age < age || (other_age == age && other < slot))) {
      slot = other;
      age = other_age;
    }
  }
  return slot;
}

// The first free summary slot from `from` on, or `slots`.
__device__ inline int warp_free_slot(const LandmarkWork& w, int from) {
  const int slots = w.layout.shape.summary;
  for (int base = from; base < slots; base += 32) {
    const int m = base + lane_id();
    const unsigned free = __ballot_sync(kWarp, m < slots && w.summary_valid()[m] == 0);
    if (free != 0) return base + __ffs(static_cast<int>(free)) - 1;
  }
  return slots;
}

}  // namespace kvg::cuda
