#pragma once

#include "kernels/decode.h"

#include <cstdint>

// Which slots a new token reads, and how they are cut into splits: functions of the position alone,
// the same on the host (declared bytes) and in kernels, so that a recorded launch serves every
// later step.
namespace kvg::cuda {

// The groups of slots of a DecodeCache in the order in which they are cut into splits: those that
// have the codec of the recent tokens next to them. The newest token is the last one of `sinks` or
// of `recent`.
enum class DecodeGroup : uint8_t { sinks, summary, exact, random, recent };
inline constexpr int kDecodeGroups = 5;
// Splits are whole tiles.
inline constexpr int32_t kDecodeTile = 64;

// What DecodePlan and the capacities of the banks say about the slots of any layer and sequence.
struct DecodeSlots {
  int32_t sinks = 0, window = 0, block = 1;
  DecodeBank bank = DecodeBank::none;
  int32_t exact = 0, summary = 0, random = 0;  // capacities

  // DecodePlan::first_recent
  constexpr int32_t first_recent(int32_t position) const {
    if (window == 0) return sinks;
    const auto past = static_cast<uint32_t>(position);
    const uint32_t since = block == 1 ? 0 : past % static_cast<uint32_t>(block);
    const int32_t begin = position - static_cast<int32_t>(since) - (window - block);
    return begin > sinks ? begin : sinks;
  }
};

// Readable slots of each group, the new token's included.
struct DecodeCounts {
  int32_t of[kDecodeGroups] = {};

  constexpr int32_t& operator[](DecodeGroup group) { return of[static_cast<int>(group)]; }
  constexpr int32_t operator[](DecodeGroup group) const { return of[static_cast<int>(group)]; }
};

constexpr DecodeCounts decode_counts(const DecodeSlots& slots, int32_t position) {
  DecodeCounts counts;
  const int32_t first = slots.first_recent(position);
  const int32_t past = position + 1;
  counts[DecodeGroup::sinks] = slots.sinks < past ? slots.sinks : past;
  if (slots.bank == DecodeBank::landmark && first > 0) {
    counts[DecodeGroup::exact] = slots.exact;
    counts[DecodeGroup::summary] = slots.summary;
  }
  if (slots.bank == DecodeBank::random) {
    counts[DecodeGroup::random] = first < slots.random ? first : slots.random;
  }
  if (position >= slots.sinks) counts[DecodeGroup::recent] = past - first;
  return counts;
}

constexpr int32_t decode_tiles(int32_t slots) { return (slots + kDecodeTile - 1) / kDecodeTile; }

constexpr int32_t decode_tiles(const DecodeCounts& counts) {
  int32_t tiles = 0;
  for (const int32_t of_group : counts.of) tiles += decode_tiles(of_group);
  return tiles;
}

// What one block reads: a range of the tiles of all groups, in their order.
struct DecodeSplit {
  int32_t used = 0;            // splits that have tiles; the others have nothing to do
  int32_t begin = 0, end = 0;  // tiles; empty when index >= used
};

// Split `index` of at most `splits`: all get the same number of tiles, but for the last one.
constexpr DecodeSplit decode_split(const DecodeCounts& counts, int32_t splits, int32_t index) {
  const int32_t all = decode_tiles(counts);
  // A division is slow on a GPU, and in short caches every tile is a split.
  const int32_t each = all <= splits ? 1 : (all + splits - 1) / splits;
  DecodeSplit split;
  split.used = each == 1 ? all : (all + each - 1) / each;
  if (index >= split.used) return split;
  split.begin = index * each;
  split.end = split.begin + each < all ? split.begin + each : all;
  return split;
}

// The readable slots of one group that a split has; often none.
struct DecodeSegment {
  DecodeGroup group = DecodeGroup::recent;
  int32_t begin = 0, end = 0;

  constexpr bool empty() const { return begin >= end; }
};

constexpr DecodeSegment decode_segment(const DecodeCounts& counts, const DecodeSplit& split,
                                       DecodeGroup group) {
  int32_t first = 0;  // tile of the group
  for (int g = 0; g < static_cast<int>(group); ++g) first += decode_tiles(counts.of[g]);
  const int32_t begin = split.begin > first ? split.begin - first : 0;
  const int32_t end = (split.end - first) * kDecodeTile;
  return {group, begin * kDecodeTile, end < counts[group] ? end : counts[group]};
}

}  // namespace kvg::cuda
