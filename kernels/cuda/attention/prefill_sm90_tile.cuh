#pragma once

#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/hopper/barrier.cuh"

#include <cstdint>

#include <cuda_bf16.h>

// What the warpgroups of Hopper's prefill attention share. One thread block works on a tile of
// packed query rows at a time (PrefillItem): a warpgroup that loads, and others of 64 rows each
// that multiply. Slots come in tiles of two halves; a half is part of one group, so that a tile may
// join the exact and the summary bank, or the end of one group and the beginning of another.
namespace kvg::cuda {

template <int kHeadDim_, int kStreams_>
struct HopperTile {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kStreams = kStreams_;
  static constexpr int kPanels = kHeadDim / 64;  // 64 columns, the 128 bytes of a swizzled row
  // Warpgroups that multiply. Half a head_dim leaves the registers for a third, but not for its
  // queries, which are then read from shared memory by each product.
  static constexpr int kConsumers = kHeadDim == 128 ? 2 : 3;
  static constexpr int kConsumerRegisters = kHeadDim == 128 ? 224 : 160;
  // Together not more than the block is launched with.
  static constexpr int kLoaderRegisters = kHeadDim == 128 ? 56 : 32;
  static constexpr bool kQueriesInRegisters = kHeadDim == 128;
  static constexpr int kQueryStages = kQueriesInRegisters ? 1 : 2;
  static constexpr int kRows = 64 * kConsumers;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kHalfSlots = 64;
  static constexpr int kSlots = 2 * kHalfSlots;
  static constexpr int kStages = kHeadDim == 128 ? 3 : 4;
  static constexpr int kItems = 4;                        // items that are known ahead
  static constexpr int kInfos = kHeadDim == 128 ? 9 : 8;  // tiles that are
  static_assert(kInfos % kStages == 0, "a tile's stage follows from its place in that ring");
};

// A part of a group in one half of a tile.
struct HopperHalf {
  const uint8_t* valid;     // PrefillGroup's of the first slot, or null
  const float* log_weight;  // likewise
  int32_t first;            // slot of the group, by i
  int32_t count;            // slots, 0 to 64
  int32_t newest;           // PrefillGroup::newest, relative to `first`
  int32_t window;
  int32_t step;          // PrefillGroup::step
  int32_t k_row, v_row;  // of the first slot, from PrefillLaunch::slot_base on
};

enum HopperTileFlags : uint32_t {
  kTileLast = 1,     // of its item
  kTileStop = 2,     // no tile: there are no more
  kTileMasked = 4,   // a row does not read all 64 slots of half 0; << 1: of half 1
  kTileBiased = 16,  // slots of half 0 have a weight or a mask; << 1: half 1
  kTileWhole = 64,   // one stretch of 128 rows of memory
  // One of as many tiles as there are warpgroups that multiply: each of them reads one, the first
  // warpgroup the first. Only after other tiles of the item, and nothing comes after them.
  kTileSplit = 128,
  kTileAdjusted = kTileMasked * 3 | kTileBiased * 3 | kTileSplit,
};

struct HopperTileInfo {
  HopperHalf halves[2];
  uint32_t flags;
};

struct HopperItem {
  int32_t row_begin;  // of the block
  int32_t kv_head;    // -1: there are no more items
  int32_t first_unit;
  int32_t units;  // of the block
};

template <typename Tile>
struct alignas(1024) HopperShared {
  // Panels of 64 columns, rows of 128 bytes, swizzled.
  __nv_bfloat16 q[Tile::kQueryStages][Tile::kPanels][Tile::kRows][64];
  __nv_bfloat16 k[Tile::kStages][Tile::kPanels][Tile::kSlots][64];
  __nv_bfloat16 v[Tile::kStages][Tile::kPanels][Tile::kSlots][64];
  float bias[Tile::kStages][Tile::kSlots];  // of scores before scaling
  HopperTileInfo infos[Tile::kInfos];
  HopperItem items[Tile::kItems];
  uint64_t item_full[Tile::kItems], item_empty[Tile::kItems];
  uint64_t info_full[Tile::kInfos], info_empty[Tile::kInfos];
  uint64_t q_full[Tile::kQueryStages], q_empty[Tile::kQueryStages];
  uint64_t k_full[Tile::kStages], k_empty[Tile::kStages];
  uint64_t v_full[Tile::kStages], v_empty[Tile::kStages];

  __device__ void init_barriers() {
    constexpr int kConsumerWarps = 4 * Tile::kConsumers;
    for (int i = 0; i < Tile::kItems; ++i) {
      hopper::init_barrier(&item_full[i], 1);
      hopper::init_barrier(&item_empty[i], kConsumerWarps + 1);  // and the warp that loads queries
    }
    for (int i = 0; i < Tile::kInfos; ++i) {
      hopper::init_barrier(&info_full[i], 2);  // a lane for each half
      hopper::init_barrier(&info_empty[i], 1);
    }
    for (int i = 0; i < Tile::kQueryStages; ++i) {
      hopper::init_barrier(&q_full[i], 32);  // each lane of the warp that loads them
      hopper::init_barrier(&q_empty[i], kConsumerWarps);
    }
    for (int i = 0; i < Tile::kStages; ++i) {
      hopper::init_barrier(&k_full[i], 1 + 32);  // copied, and filled by each lane of a warp
      hopper::init_barrier(&k_empty[i], kConsumerWarps);
      hopper::init_barrier(&v_full[i], 1 + 32);
      hopper::init_barrier(&v_empty[i], kConsumerWarps);
    }
    hopper::fence_barrier_init();
  }
};

// Byte of a 16-byte chunk (of the panel's 8) in a swizzled panel.
__device__ __forceinline__ uint32_t panel_chunk(int row, int chunk) {
  return static_cast<uint32_t>(row * 128 + ((chunk ^ (row & 7)) << 4));
}

// Unit of an item in the thread's row 0 or 1 (HopperConsumer) of the warp whose packed rows begin
// at `first`. With two streams, rows r and r + 8 of every 16 are the streams of one unit.
template <int kStreams>
__device__ __forceinline__ int unit_of_row(int first, int row) {
  const int eighth = static_cast<int>(threadIdx.x) % 32 / 4;
  return kStreams == 2 ? first / 2 + eighth : first + eighth + 8 * row;
}

// Scores of one of the thread's rows, at scores[4 i + {0, 1}] those of slots 8 i + 2 (lane % 4) +
// {0, 1}: away with all but slots [oldest, count) from newest - window + 1 to newest; oldest may be
// negative.
template <int kTiles>
__device__ __forceinline__ void mask_slots(float* scores, int oldest, int newest, int window,
                                           int count) {
  constexpr float kMaskedScore = -1e33f;
  const int end = min(count, newest + 1);
  const int begin = max(max(0, oldest), newest + 1 - window);
  const auto readable = static_cast<uint32_t>(max(end - begin, 0));
  const int first = static_cast<int>(threadIdx.x) % 4 * 2 - begin;
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      if (static_cast<uint32_t>(first + 8 * i + j) >= readable) scores[4 * i + j] = kMaskedScore;
    }
  }
}

// A place in a ring of kCount stages: stage and parity of the phase.
template <int kCount>
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  RingPlace() = default;
  // After so many steps.
  __device__ __forceinline__ explicit RingPlace(int steps)
      : stage(steps % kCount), parity(steps / kCount % 2) {}
  __device__ __forceinline__ void advance() {
    if (++stage == kCount) {
      stage = 0;
      parity ^= 1;
    }
  }
};

}  // namespace kvg::cuda
