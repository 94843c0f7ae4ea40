#pragma once

#include "kernels/cuda/attention/prefill_launch.h"

#include <cstdint>

#include <cuda.h>

namespace kvg::cuda {

// Rows of the copies that the engine makes: a tile, a half, and what ends are put together of.
inline constexpr int kRowBoxes[] = {128, 64, 8, 1};

// A call for the kernel of compute capability 9.0.
struct HopperPrefillLaunch {
  PrefillLaunch attention;
  CUtensorMap maps[4];    // [rows, head_dim] from attention.slot_base on, boxes of kRowBoxes rows
  int32_t query_frame;    // of all groups
  int32_t section_heads;  // KV heads that are worked on at a time, a divisor of kv_heads
  int32_t group_heads;    // query heads of a KV head
  // ceil(2^32 / group_heads): the upper half of a product with it divides units, of which a block
  // has less than 2^32 / group_heads. (2^32 itself, for one head, is 0.)
  uint32_t group_reciprocal;
  // {items drawn, thread blocks that are done}: zero before the launch and after it
  int32_t* counter;
};

// Row of the block that a unit belongs to.
__device__ __forceinline__ int row_of_unit(const HopperPrefillLaunch& p, int unit) {
  if (p.group_reciprocal == 0) return unit;
  return static_cast<int>(__umulhi(static_cast<uint32_t>(unit), p.group_reciprocal));
}

}  // namespace kvg::cuda
