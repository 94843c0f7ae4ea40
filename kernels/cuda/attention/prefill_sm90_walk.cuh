#pragma once

#include "kernels/cuda/attention/prefill_sm90_tile.cuh"

#include <cstdint>

namespace kvg::cuda {

// The halves that an item reads: from the last group to the first and from the newest slot to the
// oldest, so that what masks is met first. One thread.
template <int kHeadDim>
class HopperWalk {
 public:
  // Rows [first_row, last_row] of a block.
  __device__ HopperWalk(const PrefillLaunch& p, const PrefillBlock& block, int kv_head,
                        int first_row, int last_row, HopperWalkGroup& at)
      : p_(p),
        at_(at),
        kv_head_(kv_head),
        group_begin_(block.group_begin),
        group_(block.group_end),
        first_row_(first_row),
        last_row_(last_row) {}

  // Whether there is a half left.
  __device__ bool more() {
    while (begin_ >= end_) {
      if (older_ < begin_) {  // what lies before the place where the slots start over
        end_ = begin_;
        begin_ = older_;
        continue;
      }
      if (--group_ < group_begin_) {
        ++group_;
        return false;
      }
      enter();
    }
    return true;
  }

  // The next half, after more() said that there is one. Returns its flags.
  __device__ uint32_t take(HopperHalf& half) {
    constexpr int kHalf = 64;
    const int first = begin_ + (end_ - begin_ - 1) / kHalf * kHalf;
    const int newest = at_.newest - first;
    const int row = first - (first >= at_.wrap ? at_.capacity : 0);
    half.group = group_;
    half.first = first;
    half.count = end_ - first;
    half.newest = newest;
    half.window = at_.window;
    half.k_row = at_.k_row + row;
    half.v_row = at_.v_row + row;
    const bool masked = newest + first_row_ + 1 < kHalf || end_ - first < kHalf ||
                        newest + last_row_ + 1 - at_.window > 0;
    end_ = first;
    return at_.flags | (masked ? kTileMasked : 0);
  }

 private:
  __device__ void enter() {
    const PrefillGroup& group = p_.groups[group_];
    const int newest = group.newest;
    at_.newest = newest;
    at_.window = group.window;
    begin_ = max(0, newest + first_row_ - group.window + 1);
    end_ = min(group.count, newest + last_row_ + 1);
    older_ = begin_;
    const int capacity = group.capacity;
    const int wrap = capacity - group.first_slot;
    at_.capacity = capacity;
    at_.wrap = wrap;
    if (begin_ < wrap && wrap < end_) begin_ = wrap;
    at_.k_row = row_of(group.k_codes) + kv_head_ * capacity + group.first_slot;
    at_.v_row = row_of(group.v_codes) + kv_head_ * capacity + group.first_slot;
    at_.flags = group.weighed ? kTileBiased : 0;
  }
  __device__ int row_of(const uint8_t* codes) const {
    return static_cast<int>(static_cast<uint64_t>(codes - p_.slot_base) / (2 * kHeadDim));
  }

  const PrefillLaunch& p_;
  HopperWalkGroup& at_;
  int32_t kv_head_;
  int32_t group_begin_, group_;
  int32_t first_row_, last_row_;
  // Slots [begin, end) come next, then [older, begin as it was).
  int32_t begin_ = 0, end_ = 0, older_ = 0;
};

}  // namespace kvg::cuda
