#pragma once

#include "kernels/cuda/attention/prefill_sm90_launch.h"
#include "kernels/cuda/attention/prefill_sm90_tile.cuh"

#include <climits>
#include <cstddef>
#include <cstdint>

namespace kvg::cuda {

// Draws items and lays out their tiles: one warp, because the tiles of small items want to be known
// every few hundred cycles. Halves go from the last group to the first and from the newest slot to
// the oldest, so that what masks is met first.
template <typename Tile>
class HopperPlanner {
 public:
  using Shared = HopperShared<Tile>;

  __device__ HopperPlanner(const HopperPrefillLaunch& p, Shared& shared)
      : p_(p),
        shared_(shared),
        lane_(static_cast<int>(threadIdx.x) % 32),
        total_(p.attention.item_count * p.attention.kv_heads) {}

  // An item is drawn and announced before the one before it is laid out, so that its queries may be
  // brought meanwhile. (Drawing it earlier still, or while laying out, wins nothing: this warp
  // waits for room most of the time.)
  __device__ void run() {
    int index = static_cast<int>(blockIdx.x);
    announce(index);
#pragma unroll 1
    while (index < total_) {
      const int next = next_index();
      announce(next);
      plan(index);
      index = next;
    }
    hopper::wait(&shared_.info_empty[infos_.stage], infos_.parity ^ 1);
    if (lane_ == 0) shared_.infos[infos_.stage].flags = kTileStop;
    if (lane_ < 2) hopper::arrive(&shared_.info_full[infos_.stage]);
    if (lane_ == 0) leave();
  }

 private:
  static constexpr int kHalf = Tile::kHalfSlots;
  static constexpr unsigned kAll = 0xffffffffu;

  // What a lane knows of its group; the rest is read again where it is wanted (registers are few).
  struct Lane {
    int halves = 0;
    int offset = INT_MAX;  // of its first half among those of the item
  };
  // Slots of a group that are read: [middle, end), the newer ones, which come first, and [begin,
  // middle), which lie at the end of a store that starts over.
  struct Slots {
    int begin, middle, end;
  };

  __device__ int next_index() {
    int drawn = 0;
    if (lane_ == 0) drawn = atomicAdd(p_.counter, 1);
    return static_cast<int>(gridDim.x) + __shfl_sync(kAll, drawn, 0);
  }
  // Rows of the tables lie in the registers of the lanes, a word in each.
  template <typename Row>
  __device__ int row_words(const Row* row) const {
    static_assert(sizeof(Row) % 4 == 0 && sizeof(Row) <= 128);
    constexpr int kWords = sizeof(Row) / 4;
    return lane_ < kWords ? reinterpret_cast<const int*>(row)[lane_] : 0;
  }
  template <typename Row>
  __device__ static int word(int words, size_t byte) {
    return __shfl_sync(kAll, words, static_cast<int>(byte / 4));
  }
  // Heads of a section are neighbours, so that their K and V stay in the second-level cache where
  // those of all heads would not.
  __device__ int in_section(int index) const {
    return index % (p_.attention.item_count * p_.section_heads);
  }
  __device__ int kv_head_of(int index) const {
    const int section = index / (p_.attention.item_count * p_.section_heads);
    return section * p_.section_heads + in_section(index) % p_.section_heads;
  }
  __device__ int item_of(int index) const {
    return row_words(p_.attention.items + in_section(min(index, total_ - 1)) / p_.section_heads);
  }
  __device__ int block_of(int item) const {
    return row_words(p_.attention.blocks + word<PrefillItem>(item, offsetof(PrefillItem, block)));
  }

  __device__ static int first_unit_of(int item) {
    return word<PrefillItem>(item, offsetof(PrefillItem, first_unit));
  }
  __device__ int units_of(int block) const {
    return word<PrefillBlock>(block, offsetof(PrefillBlock, rows)) * p_.group_heads;
  }

  // Beyond the last item: that there are no more.
  __device__ void announce(int index) {
    const int item = item_of(index);
    const int block = block_of(item);
    // The lower half: rows are few.
    const int row_begin = word<PrefillBlock>(block, offsetof(PrefillBlock, row_begin));
    const int first_unit = first_unit_of(item);
    const int units = units_of(block);
    hopper::wait(&shared_.item_empty[items_.stage], items_.parity ^ 1);
    if (lane_ == 0) {
      HopperItem& to = shared_.items[items_.stage];
      to.row_begin = row_begin;
      to.kv_head = index < total_ ? kv_head_of(index) : -1;
      to.first_unit = first_unit;
      to.units = units;
      hopper::arrive(&shared_.item_full[items_.stage]);
    }
    items_.advance();
  }

  __device__ void plan(int index) {
    const int item = item_of(index);
    const int block = block_of(item);
    const auto field = [block](size_t byte) { return word<PrefillBlock>(block, byte); };
    const int group_begin = field(offsetof(PrefillBlock, group_begin));
    const int group_end = field(offsetof(PrefillBlock, group_end));
    const int first_unit = first_unit_of(item);
    const int last_unit = min(first_unit + Tile::kRows / Tile::kStreams, units_of(block)) - 1;
    const int first_row = row_of_unit(p_, first_unit);
    const int last_row = row_of_unit(p_, last_unit);
    Lane own;
    const int group = group_end - 1 - lane_;
    if (group >= group_begin) {
      const Slots slots = slots_of(p_.attention.groups[group], first_row, last_row);
      own.halves = halves_of(slots.end - slots.middle) + halves_of(slots.middle - slots.begin);
    }
    const int before = halves_before(own);
    own.offset = before;
    int shared_tiles = max(1, (__shfl_sync(kAll, before + own.halves, 31) + 1) / 2);
    int tiles = shared_tiles;
    // Of joined blocks first the group that all read, and then what each has for itself.
    if (field(offsetof(PrefillBlock, joined)) > 0) {
      shared_tiles = (__shfl_sync(kAll, own.halves, 0) + 1) / 2;
      const int of = (group >= field(offsetof(PrefillBlock, own_end)) ? 1 : 0) +
                     (group >= field(offsetof(PrefillBlock, own_end) + 4) ? 1 : 0);
      const int of_before = __shfl_up_sync(kAll, of, 1);
      const int halves_of_before = __shfl_up_sync(kAll, own.halves, 1);
      const int within = lane_ > 1 && of_before == of ? halves_of_before : 0;
      if (lane_ > 0) own.offset = 2 * (shared_tiles + of) + within;
      tiles = shared_tiles + (group_begin + 1 < group_end ? Tile::kConsumers : 0);
    }
#pragma unroll 1
    for (int first = 0; first < tiles; first += 16) {
      lay_out(own, kv_head_of(index), group_begin, group_end, first, shared_tiles, tiles, first_row,
              last_row);
    }
  }

  __device__ int row_of(const uint8_t* codes) const {
    return static_cast<int>(static_cast<uint64_t>(codes - p_.attention.slot_base) /
                            (2 * Tile::kHeadDim));
  }
  // By rows [first_row, last_row].
  __device__ static Slots slots_of(const PrefillGroup& group, int first_row, int last_row) {
    const int wrap = group.capacity - group.first_slot;
    const int begin = max(0, group.newest + first_row - group.window + 1);
    const int end = max(begin, min(group.count, group.newest + last_row + 1));
    return {begin, begin < wrap && wrap < end ? wrap : begin, end};
  }
  __device__ static int halves_of(int slots) { return (slots + kHalf - 1) / kHalf; }
  // Of the lanes before.
  __device__ int halves_before(const Lane& own) const {
    int sum = own.halves;
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const int other = __shfl_up_sync(kAll, sum, distance);
      if (lane_ >= distance) sum += other;
    }
    return sum - own.halves;
  }

  // Tiles [first, first + 16) of `tiles`, a half by each lane: the newer half of a tile, half 1, by
  // an even one.
  __device__ void lay_out(const Lane& own, int kv_head, int group_begin, int group_end, int first,
                          int shared_tiles, int tiles, int first_row, int last_row) {
    const int at = 2 * first + lane_;
    int from = 0, place = -1;
#pragma unroll 1
    for (int lane = 0; lane < group_end - group_begin; ++lane) {
      const int in_group = at - __shfl_sync(kAll, own.offset, lane);
      const int halves = __shfl_sync(kAll, own.halves, lane);
      const bool mine = in_group >= 0 && in_group < halves;
      from = mine ? lane : from;
      place = mine ? in_group : place;
    }
    HopperHalf half{};
    bool masked = true, weighed = false;
    if (place >= 0) {
      const PrefillGroup& group = p_.attention.groups[group_end - 1 - from];
      const auto [begin, middle, end] = slots_of(group, first_row, last_row);
      const int newer = halves_of(end - middle);
      const bool is_newer = place < newer;
      const int last = is_newer ? newer - 1 : newer + halves_of(middle - begin) - 1;
      half.first = (is_newer ? middle : begin) + (last - place) * kHalf;
      half.count = min(kHalf, (is_newer ? end : middle) - half.first);
      half.newest = group.newest - half.first;
      half.window = group.window;
      half.step = group.step;
      const int slot = group.first_slot + half.first;
      const int row =
          kv_head * group.capacity + slot - (slot >= group.capacity ? group.capacity : 0);
      half.k_row = row_of(group.k_codes) + row;
      half.v_row = row_of(group.v_codes) + row;
      if (group.valid != nullptr) half.valid = group.valid + half.first;
      if (group.log_weight != nullptr) half.log_weight = group.log_weight + half.first;
      weighed = group.weighed;
      masked = half.count < kHalf || half.newest + first_row + 1 < kHalf ||
               half.newest + last_row + 1 - half.window > 0 ||
               half.step * (Tile::kConsumers - 1) > half.first;
    }
    const int side = 1 - lane_ % 2;
    uint32_t flags = (masked ? kTileMasked << side : 0);
    if (weighed) flags |= kTileBiased << side;
    flags |= __shfl_xor_sync(kAll, flags, 1);
    const int other_count = __shfl_xor_sync(kAll, half.count, 1);
    const int k_apart = __shfl_xor_sync(kAll, half.k_row, 1) - half.k_row;
    const int v_apart = __shfl_xor_sync(kAll, half.v_row, 1) - half.v_row;
    const int apart = side == 0 ? kHalf : -kHalf;
    const bool whole =
        half.count == kHalf && other_count == kHalf && k_apart == apart && v_apart == apart;
    if (whole) flags |= kTileWhole;
    const int tile = first + lane_ / 2;
    const bool split = tile >= shared_tiles;
    if (split) flags |= kTileSplit;
    if (split || tile == tiles - 1) flags |= kTileLast;
    const int end_tile = min(tiles - first, 16);
#pragma unroll 1
    for (int i = 0; i < end_tile; ++i) {
      hopper::wait(&shared_.info_empty[infos_.stage], infos_.parity ^ 1);
      if (lane_ / 2 == i) {
        HopperTileInfo& info = shared_.infos[infos_.stage];
        info.halves[side] = half;
        if (side == 0) info.flags = flags;
        hopper::arrive(&shared_.info_full[infos_.stage]);
      }
      __syncwarp();
      infos_.advance();
    }
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
  const int lane_;
  const int total_;
  RingPlace<Tile::kItems> items_;
  RingPlace<Tile::kInfos> infos_;
};

}  // namespace kvg::cuda
