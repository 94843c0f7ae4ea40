#pragma once

#include "kernels/cuda/attention/prefill_sm90_launch.h"
#include "kernels/cuda/attention/prefill_sm90_tile.cuh"

#include <cstdint>

namespace kvg::cuda {

// Work of HopperConsumer as a warp lays it out (prefill_sm90_plan.cuh): any groups.
template <typename Tile_>
class HopperPlannedWork {
 public:
  using Tile = Tile_;
  using Shared = HopperShared<Tile>;
  using Launch = HopperPrefillLaunch;
  static constexpr bool kSplits = true;
  __device__ static constexpr bool follows(bool) { return false; }

  __device__ HopperPlannedWork(const Launch& p, Shared& shared, int group)
      : launch_(p),
        shared_(shared),
        group_(group),
        first_(64 * group + static_cast<int>(threadIdx.x) / 32 % 4 * 16) {}

  __device__ __forceinline__ bool begin() {
    hopper::wait(&shared_.item_full[next_.stage], next_.parity);
    return shared_.items[next_.stage].kv_head >= 0;
  }
  __device__ __forceinline__ void start() {
    stage_ = next_.stage;
    next_.advance();
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      block_row_[row] = row_of_unit(launch_, min(unit(row), item().units - 1));
    }
  }
  __device__ __forceinline__ void first_tile() { next_tile(); }
  __device__ __forceinline__ void next_tile() {
    info_ = infos_.stage;
    flags_ = shared_.infos[info_].flags;
  }
  __device__ __forceinline__ bool split() const { return (flags_ & kTileSplit) != 0; }
  __device__ __forceinline__ void own_tile() {
    info_ = (info_ + group_) % Tile::kInfos;
    flags_ = shared_.infos[info_].flags;
  }
  __device__ __forceinline__ bool last() const { return (flags_ & kTileLast) != 0; }
  __device__ __forceinline__ bool adjusted() const { return (flags_ & kTileAdjusted) != 0; }
  __device__ __forceinline__ void tile_done() { infos_.advance(); }

  __device__ __forceinline__ void adjust(float (&score)[Tile::kSlots / 2]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      constexpr int kTiles = Tile::kHalfSlots / 8;
      float* scores = score + half * (4 * kTiles);
      if ((flags_ & kTileBiased << half) != 0) {
        const float* bias =
            shared_.bias[info_ % Tile::kStages] + half * Tile::kHalfSlots + lane() % 4 * 2;
#pragma unroll
        for (int i = 0; i < kTiles; ++i) {
          const float2 pair = *reinterpret_cast<const float2*>(bias + 8 * i);
          scores[4 * i] += pair.x;
          scores[4 * i + 1] += pair.y;
          scores[4 * i + 2] += pair.x;
          scores[4 * i + 3] += pair.y;
        }
      }
      if ((flags_ & kTileMasked << half) != 0) {
        const HopperHalf& part = shared_.infos[info_].halves[half];
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          mask_slots<kTiles>(scores + 2 * row, part.step * group_ - part.first,
                             part.newest + block_row_[row], part.window, part.count);
        }
      }
    }
  }

  __device__ __forceinline__ bool real(int row) const { return unit(row) < item().units; }
  // Beyond the last unit, that of the last.
  __device__ __forceinline__ int64_t vector(int row) const {
    const int at = min(unit(row), item().units - 1);
    const int head =
        item().kv_head * launch_.group_heads + at - block_row_[row] * launch_.group_heads;
    return static_cast<int64_t>(item().row_begin + block_row_[row]) * launch_.attention.heads +
           head;
  }
  __device__ __forceinline__ void finish() { give_back(&shared_.item_empty[stage_]); }
  __device__ __forceinline__ static void give_back_slots(uint64_t* barrier) { give_back(barrier); }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  __device__ static void give_back(uint64_t* barrier) {
    __syncwarp();
    if (lane() == 0) hopper::arrive(barrier);
  }
  __device__ __forceinline__ const HopperItem& item() const { return shared_.items[stage_]; }
  __device__ __forceinline__ int unit(int row) const {
    return item().first_unit + unit_of_row<Tile::kStreams>(first_, row);
  }

  const Launch& launch_;
  Shared& shared_;
  const int group_;
  const int first_;  // packed row of the warp
  RingPlace<Tile::kItems> next_;
  RingPlace<Tile::kInfos> infos_;
  int stage_ = 0;
  int info_ = 0;  // of the present tile
  int block_row_[2];
  uint32_t flags_ = 0;
};

}  // namespace kvg::cuda
