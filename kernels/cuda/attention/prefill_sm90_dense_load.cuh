#pragma once

#include "kernels/cuda/attention/prefill_sm90_dense.cuh"
#include "kernels/cuda/hopper/tma.cuh"

#include <cstdint>

// The loading warpgroup of dense prefill attention, of which two threads work. Thread blocks of a
// cluster work on the same items, each on units of its own, and each copies its part of every tile
// to all.
namespace kvg::cuda {

// Draws items, tells the others what they are and copies their queries, an item ahead.
template <typename Tile>
class HopperDensePlanner {
 public:
  using Shared = HopperDenseShared<Tile>;

  __device__ HopperDensePlanner(const HopperDenseLaunch& p, Shared& shared)
      : p_(p), shared_(shared), rank_(Tile::kCluster == 1 ? 0 : hopper::cluster_rank()) {}

  __device__ void run() {
    const int total = p_.attention.item_count * p_.sets;
    const int clusters = static_cast<int>(gridDim.x) / Tile::kCluster;
    hopper::prefetch_map(&p_.query_map);
    int index = static_cast<int>(blockIdx.x) / Tile::kCluster;
    while (index < total) {
      // Heads of a section are neighbours, so that their K and V stay in the second-level cache
      // where those of all heads would not.
      const int section_size = p_.attention.item_count * p_.section_sets;
      const int in_section = index % section_size;
      const int set = index / section_size * p_.section_sets + in_section % p_.section_sets;
      begin(p_.attention.items[in_section / p_.section_sets], set * p_.unit_heads);
      index = clusters + draw();
    }
    const RingPlace<Tile::kItems> items(items_);
    wait_for_place();
    shared_.items[items.stage].head = -1;
    hopper::arrive(&shared_.item_full[items.stage]);
    if (rank_ == 0) leave(clusters);
  }

 private:
  static constexpr int kUnits = Tile::kRows / Tile::kStreams;  // of a thread block's item

  // The first thread block of a cluster draws for all.
  __device__ int draw() {
    int drawn = rank_ == 0 ? atomicAdd(p_.attention.counter, 1) : 0;
    if constexpr (Tile::kCluster > 1) {
      const RingPlace<Tile::kDraws> draws(items_ - 1);
      uint64_t* barrier = &shared_.draw_full[draws.stage];
      int32_t* place = &shared_.draws[draws.stage];
      if (rank_ == 0) {
        for (int rank = 1; rank < Tile::kCluster; ++rank) {
          hopper::store_at(place, barrier, rank, drawn);
        }
      } else {
        hopper::arrive_and_expect(barrier, 4);
        hopper::wait_long(barrier, draws.parity);
        drawn = *static_cast<volatile int32_t*>(place);
      }
    }
    return drawn;
  }

  // When queries have been read, all warps have written the results of the item before theirs,
  // whose place may then be another's.
  __device__ void wait_for_place() {
    const RingPlace<Tile::kQueryStages> queries(items_);
    hopper::wait_long(&shared_.q_empty[queries.stage], queries.parity ^ 1);
  }

  __device__ void begin(const PrefillItem& drawn, int head) {
    const RingPlace<Tile::kQueryStages> queries(items_);
    const RingPlace<Tile::kItems> items(items_);
    wait_for_place();
    ++items_;
    const HopperDenseBlock& block = p_.blocks[drawn.block];
    const int units = block.rows << p_.unit_shift;
    const int own = drawn.first_unit + rank_ * kUnits;
    HopperDenseItem& item = shared_.items[items.stage];
    item.row_begin = block.row_begin;
    item.head = head;
    item.first_unit = own;
    item.units = units;
    item.newest = block.newest;
    item.window = block.window;
    item.count = block.count;
    item.block = drawn.block;
    const auto row_of = [&](int unit) { return min(unit, units - 1) >> p_.unit_shift; };
    const auto begin_of = [&](int row) { return max(0, block.newest + row - block.window + 1); };
    const auto end_of = [&](int row) { return max(0, min(block.count, block.newest + row + 1)); };
    // Those of the whole cluster.
    const int end = end_of(row_of(drawn.first_unit + Tile::kCluster * kUnits - 1));
    const int first_tile = (end - 1) / Tile::kSlots;
    const int last_tile = begin_of(row_of(drawn.first_unit)) / Tile::kSlots;
    const bool some = first_tile >= last_tile;
    item.tiles.first = some ? first_tile : 0;
    item.tiles.last = some ? last_tile : 0;
    item.tiles.plain_begin = (begin_of(row_of(own + kUnits - 1)) + Tile::kSlots - 1) / Tile::kSlots;
    item.tiles.plain_end = end_of(row_of(own)) / Tile::kSlots;
    hopper::arrive(&shared_.item_full[items.stage]);
    copy_queries(block.row_begin + (own >> p_.unit_shift), head, queries.stage);
  }

  // Rows beyond the call's are zeros, those beyond the block's whatever they are.
  __device__ void copy_queries(int row, int head, int stage) {
    uint64_t* barrier = &shared_.q_full[stage];
    const uint32_t to = hopper::shared_u32(shared_.q[stage]);
    constexpr uint32_t kPanelBytes = Tile::kRows * 128;
    constexpr int kBoxUnits = Tile::kStreams == 2 ? 8 : kUnits;
    hopper::arrive_and_expect(barrier, Tile::kPanels * kPanelBytes);
#pragma unroll 1
    for (int unit = 0; unit < kUnits; unit += kBoxUnits) {
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel) {
        hopper::copy_box(to + panel * kPanelBytes + unit * Tile::kStreams * 128, &p_.query_map,
                         barrier, 64 * panel, head, row + (unit >> p_.unit_shift), 0);
      }
    }
  }

  // The last cluster leaves the counters at zero, for the next launch.
  __device__ void leave(int clusters) {
    __threadfence();
    if (atomicAdd(p_.attention.counter + 1, 1) != clusters - 1) return;
    p_.attention.counter[0] = 0;
    p_.attention.counter[1] = 0;
  }

  const HopperDenseLaunch& p_;
  Shared& shared_;
  const int rank_;
  int items_ = 0;  // that were begun
};

// Copies K and V of the items.
template <typename Tile>
class HopperDenseCopier {
 public:
  using Shared = HopperDenseShared<Tile>;

  __device__ HopperDenseCopier(const HopperDenseLaunch& p, Shared& shared)
      : p_(p), shared_(shared), rank_(Tile::kCluster == 1 ? 0 : hopper::cluster_rank()) {}

  __device__ void run() {
    for (RingPlace<Tile::kItems> items;; items.advance()) {
      hopper::wait_long(&shared_.item_full[items.stage], items.parity);
      const HopperDenseItem& item = shared_.items[items.stage];
      if (item.head < 0) return;
      const int kv_head = item.head / p_.group_heads;
      const CUtensorMap* k_map = &p_.k_maps[item.block];
      const CUtensorMap* v_map = &p_.v_maps[item.block];
      const int last_tile = item.tiles.last;
#pragma unroll 1
      for (int tile = item.tiles.first; tile >= last_tile; --tile) {
        const int stage = ring_.stage;
        hopper::wait_long(&shared_.k_empty[stage], ring_.parity ^ 1);
        copy(k_map, shared_.k[stage], &shared_.k_full[stage], tile, kv_head);
        hopper::wait_long(&shared_.v_empty[stage], ring_.parity ^ 1);
        copy(v_map, shared_.v[stage], &shared_.v_full[stage], tile, kv_head);
        ring_.advance();
      }
    }
  }

 private:
  using Slots = __nv_bfloat16[Tile::kPanels][Tile::kSlots][64];

  __device__ __forceinline__ void copy(const CUtensorMap* map, Slots& to, uint64_t* full, int tile,
                                       int kv_head) {
    constexpr uint32_t kPanelBytes = Tile::kSlots * 128;
    constexpr int kRows = Tile::kSlots / Tile::kCluster;
    hopper::arrive_and_expect(full, Tile::kPanels * kPanelBytes);
    const int row = rank_ * kRows;
    const uint32_t at = hopper::shared_u32(to) + row * 128;
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      if constexpr (Tile::kCluster == 1) {
        hopper::copy_box(at + panel * kPanelBytes, map, full, 64 * panel, tile * Tile::kSlots,
                         kv_head);
      } else {
        hopper::copy_box_to_all(at + panel * kPanelBytes, map, full, 64 * panel,
                                tile * Tile::kSlots + row, kv_head, (1 << Tile::kCluster) - 1);
      }
    }
  }

  const HopperDenseLaunch& p_;
  Shared& shared_;
  const int rank_;
  RingPlace<Tile::kStages> ring_;
};

}  // namespace kvg::cuda
