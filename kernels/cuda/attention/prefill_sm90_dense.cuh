#pragma once

#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/attention/prefill_sm90_tile.cuh"
#include "kernels/cuda/hopper/cluster.cuh"

#include <cstdint>

#include <cuda.h>

// Dense prefill attention on Hopper: every block reads one stretch of bf16 slots, and slots have
// neither weights nor masks. What is to be copied and masked then follows from an item's rows
// alone: one thread copies whole tiles and another draws items and copies queries, and nothing else
// runs beside the warpgroups that multiply. Tiles are of slots [128 t, 128 t + 128) of the stretch,
// from the newest to the oldest; the copy engine fills with zeros what lies beyond.
//
// An item's units are (row r, head h) of unit_heads heads that share a KV head, numbered
// r * unit_heads + h, so that eight of them are a box of the queries' memory.
namespace kvg::cuda {

template <int kHeadDim_, int kStreams_>
struct HopperDenseTile : HopperTile<kHeadDim_, kStreams_> {
  // Thread blocks that work on neighbouring units of the same heads and share what they copy. With
  // head_dim 128 that halves what comes from the second-level cache (70 % of its throughput
  // otherwise): 2 % faster, and up to 5 % where power is the limit. Half the head_dim reads half as
  // fast, and waiting for each other costs 2 %.
  static constexpr int kCluster = kHeadDim_ == 128 ? 2 : 1;
  static constexpr int kStages = kHeadDim_ == 128 ? 3 : 4;
  // Loaders that plan little need few.
  static constexpr int kConsumerRegisters = kHeadDim_ == 128 ? 232 : 160;
  static constexpr int kLoaderRegisters = kHeadDim_ == 128 ? 40 : 32;
  static constexpr int kDraws = 8;  // more than items that a thread block can be behind its pair
};

struct HopperDenseBlock {
  int32_t row_begin, rows;        // as in PrefillBlock
  int32_t count, newest, window;  // as in PrefillGroup
};

// A call. Its arguments hold everything but the items.
struct HopperDenseLaunch {
  PrefillLaunch attention;
  // [head_dim, heads, rows, streams] of the frame that is read, the fastest first
  CUtensorMap query_map;
  // [head_dim, slots, kv_heads] of each block
  CUtensorMap k_maps[kMostDenseBlocks], v_maps[kMostDenseBlocks];
  HopperDenseBlock blocks[kMostDenseBlocks];
  int32_t unit_heads, unit_shift;  // 2^unit_shift
  int32_t group_heads;             // query heads of a KV head
  int32_t section_sets;            // sets of unit_heads heads that are worked on at a time
  int32_t sets;
};

// Tiles of an item, the newest first; of these, every row reads all of [plain_begin, plain_end).
struct alignas(16) HopperDenseTiles {
  int32_t first, last;
  int32_t plain_begin, plain_end;
};

struct HopperDenseItem {
  HopperDenseTiles tiles;
  int32_t row_begin;  // of the block
  int32_t head;       // the first; -1: there are no more items
  int32_t first_unit;
  int32_t units;  // of the block
  int32_t newest, window, count;
  int32_t block;
};

template <typename Tile>
struct alignas(1024) HopperDenseShared {
  // As in HopperShared.
  __nv_bfloat16 q[Tile::kQueryStages][Tile::kPanels][Tile::kRows][64];
  __nv_bfloat16 k[Tile::kStages][Tile::kPanels][Tile::kSlots][64];
  __nv_bfloat16 v[Tile::kStages][Tile::kPanels][Tile::kSlots][64];
  HopperDenseItem items[Tile::kItems];
  int32_t draws[Tile::kDraws];  // what the first thread block of a cluster draws for the others
  uint64_t item_full[Tile::kItems];
  uint64_t draw_full[Tile::kDraws];
  uint64_t q_full[Tile::kQueryStages], q_empty[Tile::kQueryStages];
  uint64_t k_full[Tile::kStages], k_empty[Tile::kStages];
  uint64_t v_full[Tile::kStages], v_empty[Tile::kStages];

  __device__ void init_barriers() {
    constexpr int kConsumerWarps = 4 * Tile::kConsumers;
    for (uint64_t& barrier : item_full) hopper::init_barrier(&barrier, 1);
    for (uint64_t& barrier : draw_full) hopper::init_barrier(&barrier, 1);
    for (uint64_t& barrier : q_full) hopper::init_barrier(&barrier, 1);
    for (uint64_t& barrier : q_empty) hopper::init_barrier(&barrier, kConsumerWarps);
    for (uint64_t& barrier : k_full) hopper::init_barrier(&barrier, 1);
    for (uint64_t& barrier : v_full) hopper::init_barrier(&barrier, 1);
    for (uint64_t& barrier : k_empty) {
      hopper::init_barrier(&barrier, kConsumerWarps * Tile::kCluster);
    }
    for (uint64_t& barrier : v_empty) {
      hopper::init_barrier(&barrier, kConsumerWarps * Tile::kCluster);
    }
    hopper::fence_barrier_init();
  }
};

// Work of HopperConsumer.
template <typename Tile_>
class HopperDenseWork {
 public:
  using Tile = Tile_;
  using Shared = HopperDenseShared<Tile>;
  using Launch = HopperDenseLaunch;
  // Where the few adjusted tiles do not either, the loop of the others comes out 1 % slower.
  static constexpr bool kSplits = false;
  __device__ static constexpr bool follows(bool adjusted) { return adjusted; }

  __device__ HopperDenseWork(const Launch& p, Shared& shared, int group)
      : launch_(p),
        shared_(shared),
        first_(64 * group + static_cast<int>(threadIdx.x) / 32 % 4 * 16) {}

  __device__ __forceinline__ bool begin() {
    hopper::wait(&shared_.item_full[next_.stage], next_.parity);
    return shared_.items[next_.stage].head >= 0;
  }
  // An item stays until all warps have begun the one after the next.
  __device__ __forceinline__ void start() {
    stage_ = next_.stage;
    next_.advance();
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      block_row_[row] = min(unit(row), item().units - 1) >> launch_.unit_shift;
    }
  }
  __device__ __forceinline__ void first_tile() {
    tile_ = shared_.items[next_.stage].tiles.first;
    look_at_tile(shared_.items[next_.stage]);
  }
  __device__ __forceinline__ void next_tile() {
    --tile_;
    look_at_tile(item());
  }
  __device__ __forceinline__ bool last() const { return last_; }
  __device__ __forceinline__ bool adjusted() const { return adjusted_; }
  __device__ __forceinline__ void tile_done() {}

  __device__ __forceinline__ void adjust(float (&score)[Tile::kSlots / 2]) const {
    const int first = tile_ * Tile::kSlots;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      int newest = item().newest + block_row_[row] - first;
      // Not known to be that of the other row, whose comparisons would take too many registers.
      asm volatile("" : "+r"(newest));
      mask_slots<Tile::kSlots / 8>(score + 2 * row, 0, newest, item().window, item().count - first);
    }
  }

  __device__ __forceinline__ bool real(int row) const { return unit(row) < item().units; }
  // Beyond the last unit, that of the last.
  __device__ __forceinline__ int64_t vector(int row) const {
    const int at = min(unit(row), item().units - 1);
    const int block_row = block_row_[row];
    return static_cast<int64_t>(item().row_begin + block_row) * launch_.attention.heads +
           item().head + (at - (block_row << launch_.unit_shift));
  }
  __device__ __forceinline__ void finish() {}
  // To every thread block that the stage is copied to.
  __device__ __forceinline__ static void give_back_slots(uint64_t* barrier) {
    __syncwarp();
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if constexpr (Tile::kCluster == 1) {
      if (lane == 0) hopper::arrive(barrier);
    } else {
      if (lane < Tile::kCluster) hopper::arrive_at(barrier, lane);
    }
  }

 private:
  __device__ __forceinline__ const HopperDenseItem& item() const { return shared_.items[stage_]; }
  __device__ __forceinline__ void look_at_tile(const HopperDenseItem& item) {
    const HopperDenseTiles tiles = item.tiles;
    last_ = tile_ == tiles.last;
    adjusted_ = tile_ < tiles.plain_begin || tile_ >= tiles.plain_end;
  }
  __device__ __forceinline__ int unit(int row) const {
    return item().first_unit + unit_of_row<Tile::kStreams>(first_, row);
  }

  const Launch& launch_;
  Shared& shared_;
  const int first_;  // packed row of the warp
  RingPlace<Tile::kItems> next_;
  int stage_ = 0;
  int block_row_[2];
  int tile_ = 0;
  bool last_ = false, adjusted_ = false;
};

}  // namespace kvg::cuda
