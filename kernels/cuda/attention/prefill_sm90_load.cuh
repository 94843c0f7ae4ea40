#pragma once

#include "kernels/cuda/attention/mma.cuh"
#include "kernels/cuda/attention/prefill_sm90_launch.h"
#include "kernels/cuda/attention/prefill_sm90_tile.cuh"
#include "kernels/cuda/attention/prefill_sm90_walk.cuh"
#include "kernels/cuda/hopper/tma.cuh"

#include <cmath>
#include <cstdint>

// The loading warpgroup: a thread works out what comes next, several tiles ahead; another drives
// the copy engine; one warp brings queries, and one the weights and masks of slots.
namespace kvg::cuda {

// Draws items and lays out their tiles. One thread.
template <typename Tile>
class HopperPlanner {
 public:
  using Shared = HopperShared<Tile>;

  __device__ HopperPlanner(const HopperPrefillLaunch& p, Shared& shared) : p_(p), shared_(shared) {}

  __device__ void run() {
    const int total = p_.attention.item_count * p_.attention.kv_heads;
    for (int index = static_cast<int>(blockIdx.x); index < total;) {
      plan(index);
      index = static_cast<int>(gridDim.x) + atomicAdd(p_.counter, 1);
    }
    hopper::wait(&shared_.item_empty[items_.stage], items_.parity ^ 1);
    shared_.items[items_.stage].kv_head = -1;
    hopper::arrive(&shared_.item_full[items_.stage]);
    hopper::wait(&shared_.info_empty[infos_.stage], infos_.parity ^ 1);
    shared_.infos[infos_.stage].flags = kTileStop;
    hopper::arrive(&shared_.info_full[infos_.stage]);
    leave();
  }

 private:
  // Heads of a section are neighbours, so that their K and V stay in the second-level cache where
  // those of all heads would not.
  __device__ void plan(int index) {
    const PrefillLaunch& p = p_.attention;
    const int section_size = p.item_count * p_.section_heads;
    const int section = index / section_size;
    const int in_section = index % section_size;
    const PrefillItem drawn = p.items[in_section / p_.section_heads];
    const PrefillBlock block = p.blocks[drawn.block];
    const int kv_head = section * p_.section_heads + in_section % p_.section_heads;
    const int units = block.rows * p_.group_heads;

    hopper::wait(&shared_.item_empty[items_.stage], items_.parity ^ 1);
    HopperItem& item = shared_.items[items_.stage];
    item.row_begin = static_cast<int>(block.row_begin);
    item.kv_head = kv_head;
    item.first_unit = drawn.first_unit;
    item.units = units;
    hopper::arrive(&shared_.item_full[items_.stage]);
    items_.advance();

    const int last_unit = min(drawn.first_unit + Tile::kRows / Tile::kStreams, units) - 1;
    HopperWalk<Tile::kHeadDim> walk(p, block, kv_head, row_of_unit(p_, drawn.first_unit),
                                    row_of_unit(p_, last_unit), shared_.walk);
    for (bool more = true; more;) {
      hopper::wait(&shared_.info_empty[infos_.stage], infos_.parity ^ 1);
      HopperTileInfo& info = shared_.infos[infos_.stage];
      info.flags = plan_tile(walk, info, &more);
      hopper::arrive(&shared_.info_full[infos_.stage]);
      infos_.advance();
    }
  }

  // The older half comes first, so that both may be one stretch of memory.
  __device__ uint32_t plan_tile(HopperWalk<Tile::kHeadDim>& walk, HopperTileInfo& info,
                                bool* more) {
    uint32_t flags = 0;
#pragma unroll
    for (int half = 1; half >= 0; --half) {
      if (walk.more()) {
        flags |= walk.take(info.halves[half]) << half;
      } else {
        info.halves[half].count = 0;
        flags |= kTileMasked << half;
      }
    }
    *more = walk.more();
    if (!*more) flags |= kTileLast;
    const HopperHalf &older = info.halves[0], &newer = info.halves[1];
    const bool whole = older.count == 64 && newer.count == 64 && older.k_row + 64 == newer.k_row &&
                       older.v_row + 64 == newer.v_row;
    return whole ? flags | kTileWhole : flags;
  }

  // The last thread block leaves the counters at zero, for the next launch.
  __device__ void leave() {
    __threadfence();
    if (atomicAdd(p_.counter + 1, 1) != static_cast<int>(gridDim.x) - 1) return;
    p_.counter[0] = 0;
    p_.counter[1] = 0;
  }

  const HopperPrefillLaunch& p_;
  Shared& shared_;
  RingPlace<Tile::kItems> items_;
  RingPlace<Tile::kInfos> infos_;
};

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
      hopper::wait(&shared_.k_empty[stage], ring.parity ^ 1);
      if ((flags & (3 * kTileBiased)) != 0) load_bias(info, flags, stage);
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
  // What is added to the scores of slots before they are scaled.
  __device__ void load_bias(const HopperTileInfo& info, uint32_t flags, int stage) {
    for (int half = 0; half < 2; ++half) {
      const HopperHalf& part = info.halves[half];
      if ((flags & kTileBiased << half) == 0) continue;
      const PrefillGroup& group = p_.groups[part.group];
      for (int i = lane_; i < part.count; i += 32) {
        const int slot = part.first + i;
        float bias = 0;
        if (group.log_weight != nullptr) bias = group.log_weight[slot] * (kLog2E / p_.scale_log2);
        if (group.valid != nullptr && group.valid[slot] == 0) bias = -INFINITY;
        shared_.bias[stage][Tile::kHalfSlots * half + i] = bias;
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
