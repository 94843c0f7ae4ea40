#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/prefill_sm90_launch.h"
#include "kernels/cuda/attention/prefill_sm90_tile.cuh"
#include "kernels/cuda/hopper/tma.cuh"

#include <cmath>
#include <cstdint>

// The loading warpgroup, but for the warp that works out what comes next, several tiles ahead
// (prefill_sm90_plan.cuh): a thread drives the copy engine; one warp brings queries, and one the
// weights and masks of slots.
namespace kvg::cuda {

// Drives the copy engine. One thread.
template <typename Tile>
class HopperCopier {
 public:
  using Shared = HopperShared<Tile>;

  __device__ HopperCopier(const HopperPrefillLaunch& p, Shared& shared) : p_(p), shared_(shared) {}

  __device__ void run() {
    RingPlace<Tile::kInfos> infos;
    RingPlace<Tile::kStages> ring;
    for (int tile = 0;; ++tile) {
      hopper::wait(&shared_.info_full[infos.stage], infos.parity);
      const HopperTileInfo& info = shared_.infos[infos.stage];
      const uint32_t flags = info.flags;
      if ((flags & kTileStop) != 0) return;
      hopper::wait(&shared_.k_empty[ring.stage], ring.parity ^ 1);
      // Keys of the tile kStages ago have been read, so the values before it are complete:
      // nobody looks at that info any more.
      if (tile > Tile::kStages) {
        hopper::arrive(&shared_.info_empty[(tile - Tile::kStages - 1) % Tile::kInfos]);
      }
      copy(info, flags, shared_.k[ring.stage], &shared_.k_full[ring.stage], false);
      hopper::wait(&shared_.v_empty[ring.stage], ring.parity ^ 1);
      copy(info, flags, shared_.v[ring.stage], &shared_.v_full[ring.stage], true);
      ring.advance();
      infos.advance();
    }
  }

 private:
  static constexpr uint32_t kPanelBytes = Tile::kSlots * 128;
  using Slots = __nv_bfloat16[Tile::kPanels][Tile::kSlots][64];

  __device__ void copy(const HopperTileInfo& info, uint32_t flags, Slots& to, uint64_t* barrier,
                       bool value) {
    const uint32_t at = hopper::shared_u32(to);
    if ((flags & kTileWhole) != 0) {
      const int row = value ? info.halves[0].v_row : info.halves[0].k_row;
      hopper::arrive_and_expect(barrier, Tile::kPanels * kPanelBytes);
      copy_box<0>(at, barrier, row);
      return;
    }
    const int rows = info.halves[0].count + info.halves[1].count;
    hopper::arrive_and_expect(barrier, static_cast<uint32_t>(rows * 128 * Tile::kPanels));
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      copy_rows(at + half * Tile::kHalfSlots * 128, barrier,
                value ? info.halves[half].v_row : info.halves[half].k_row, info.halves[half].count);
    }
  }

  // `count` rows from `row` on into the rows of a half, with the largest boxes that fit: beyond the
  // last slot there may be no memory.
  __device__ void copy_rows(uint32_t to, uint64_t* barrier, int row, int count) {
    constexpr int kHalf = kRowBoxes[1], kFew = kRowBoxes[2];
    if (count == kHalf) return copy_box<1>(to, barrier, row);
    int done = 0;
#pragma unroll 1
    for (; done + kFew <= count; done += kFew) {
      copy_box<2>(to + done * 128, barrier, row + done);
    }
#pragma unroll 1
    for (; done < count; ++done) copy_box<3>(to + done * 128, barrier, row + done);
  }

  template <int kBox>
  __device__ void copy_box(uint32_t to, uint64_t* barrier, int row) {
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      hopper::copy_box(to + panel * kPanelBytes, &p_.maps[kBox], barrier, 64 * panel, row);
    }
  }

  const HopperPrefillLaunch& p_;
  Shared& shared_;
};

// One warp: queries of each item into shared memory; rows without one are zeros.
template <typename Tile>
__device__ void load_queries(const HopperPrefillLaunch& launch, HopperShared<Tile>& shared) {
  const PrefillLaunch& p = launch.attention;
  constexpr int kChunks = Tile::kHeadDim / 8;
  constexpr int kRowsAtOnce = 32 / kChunks;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int chunk = lane % kChunks;
  const int heads = launch.group_heads;
  const auto* q = static_cast<const __nv_bfloat16*>(p.q) + 8 * chunk +
                  int64_t{launch.query_frame} * p.rows * Tile::kStreams * p.heads * Tile::kHeadDim;
  RingPlace<Tile::kItems> items;
  RingPlace<Tile::kQueryStages> queries;
  for (;;) {
    hopper::wait(&shared.item_full[items.stage], items.parity);
    const HopperItem& item = shared.items[items.stage];
    const int row_begin = item.row_begin;
    const int kv_head = item.kv_head, first_unit = item.first_unit, units = item.units;
    __syncwarp();
    if (lane == 0) hopper::arrive(&shared.item_empty[items.stage]);
    items.advance();
    if (kv_head < 0) return;
    hopper::wait(&shared.q_empty[queries.stage], queries.parity ^ 1);
    const uint32_t to = hopper::shared_u32(shared.q[queries.stage][chunk / 8]);
#pragma unroll 2
    for (int row = lane / kChunks; row < Tile::kRows; row += kRowsAtOnce) {
      // Two streams: rows r and r + 8 of every 16 are the streams of one unit, so that they meet in
      // one thread.
      const bool two = Tile::kStreams == 2;
      const int unit = first_unit + (two ? row / 16 * 8 + row % 8 : row);
      const int block_row = row_of_unit(launch, unit);
      const int query = (row_begin + block_row) * Tile::kStreams + (two ? row / 8 % 2 : 0);
      const int vector = query * p.heads + kv_head * heads + unit - block_row * heads;
      const bool some = unit < units;
      cp_async_16(to + panel_chunk(row, chunk % 8),
                  q + (some ? int64_t{vector} * Tile::kHeadDim : 0), some ? 16 : 0);
    }
    cp_async_commit();
    cp_async_wait<0>();
    hopper::fence_for_async_proxy();
    hopper::arrive(&shared.q_full[queries.stage]);
    queries.advance();
  }
}

// One warp: what the copy engine leaves, weights and masks of slots, and values where there are
// none.
template <typename Tile>
class HopperFiller {
 public:
  using Shared = HopperShared<Tile>;

  __device__ HopperFiller(const HopperPrefillLaunch& p, Shared& shared)
      : p_(p.attention), shared_(shared), lane_(static_cast<int>(threadIdx.x) % 32) {}

  __device__ void run() {
    RingPlace<Tile::kInfos> infos;
    for (RingPlace<Tile::kStages> ring;; ring.advance(), infos.advance()) {
      const int stage = ring.stage;
      hopper::wait(&shared_.info_full[infos.stage], infos.parity);
      const HopperTileInfo& info = shared_.infos[infos.stage];
      const uint32_t flags = info.flags;
      if ((flags & kTileStop) != 0) return;
      const bool biased = (flags & (3 * kTileBiased)) != 0;
      float bias[2][2];
      if (biased) load_bias(info, flags, bias);
      hopper::wait(&shared_.k_empty[stage], ring.parity ^ 1);
      if (biased) {
#pragma unroll
        for (int i = 0; i < 4; ++i) shared_.bias[stage][lane_ + 32 * i] = bias[i / 2][i % 2];
      }
      hopper::arrive(&shared_.k_full[stage]);
      hopper::wait(&shared_.v_empty[stage], ring.parity ^ 1);
      if ((flags & (3 * kTileMasked)) != 0) {
        for (int half = 0; half < 2; ++half) {
          if ((flags & kTileMasked << half) != 0) clear(info.halves[half].count, half, stage);
        }
        hopper::fence_for_async_proxy();
      }
      hopper::arrive(&shared_.v_full[stage]);
    }
  }

 private:
  // What is added to the scores of slots before they are scaled; of both halves slots l and l + 32.
  __device__ void load_bias(const HopperTileInfo& info, uint32_t flags, float (&bias)[2][2]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const HopperHalf& part = info.halves[half];
      const bool some = (flags & kTileBiased << half) != 0;
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int slot = lane_ + 32 * i;
        bias[half][i] = 0;
        if (!some || slot >= part.count) continue;
        if (part.log_weight != nullptr) {
          bias[half][i] = part.log_weight[slot] * (kLog2E / p_.scale_log2);
        }
        if (part.valid != nullptr && part.valid[slot] == 0) bias[half][i] = -INFINITY;
      }
    }
  }

  // Values of slots that are not there have weight 0, but must be numbers.
  __device__ void clear(int count, int half, int stage) {
    constexpr int kChunks = Tile::kHeadDim / 8;
    for (int i = count * kChunks + lane_; i < Tile::kHalfSlots * kChunks; i += 32) {
      const int chunk = i % kChunks;
      auto* panel = reinterpret_cast<uint8_t*>(shared_.v[stage][chunk / 8]);
      const int row = Tile::kHalfSlots * half + i / kChunks;
      *reinterpret_cast<uint4*>(panel + panel_chunk(row, chunk % 8)) = uint4{};
    }
  }

  const PrefillLaunch& p_;
  Shared& shared_;
  int lane_;
};

}  // namespace kvg::cuda
