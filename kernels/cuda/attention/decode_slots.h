#pragma once

#include "kernels/decode.h"

#include <cstdint>

// Which slots a new token reads, and how they are cut into splits: functions of the position alone,
// the same on the host (declared bytes) and in kernels, so that a recorded launch serves every
// later step.
namespace kvg::cuda {

// The groups of slots of a DecodeCache in the order in which they are cut into splits. The newest
// token is the last one of `sinks` or of `recent`.
enum class DecodeGroup : uint8_t { sinks, exact, summary, random, recent };
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

// Groups that can have slots at some position.
constexpr int32_t decode_group_count(const DecodeSlots& slots) {
  return 1 + (slots.sinks > 0 ? 1 : 0) +
         (slots.bank == DecodeBank::landmark
              ? (slots.exact > 0 ? 1 : 0) + (slots.summary > 0 ? 1 : 0)
              : 0) +
         (slots.bank == DecodeBank::random && slots.random > 0 ? 1 : 0);
}

// The slots of one split, all of one group, because groups differ in codec and query frame.
struct DecodeSplit {
  int32_t used = 0;  // splits that have slots; the others have nothing to do
  DecodeGroup group = DecodeGroup::recent;
  int32_t begin = 0, end = 0;  // of the group's readable slots; empty when index >= used
};

constexpr int32_t decode_tiles(int32_t slots) { return (slots + kDecodeTile - 1) / kDecodeTile; }

// Split `index` of at most `splits` (>= decode_group_count): every split gets the same number of
// tiles, the least with which all groups fit, but for the last of each group.
constexpr DecodeSplit decode_split(const DecodeCounts& counts, int32_t splits, int32_t index) {
  int32_t tiles[kDecodeGroups] = {};
  int32_t all = 0;
  for (int g = 0; g < kDecodeGroups; ++g) all += tiles[g] = decode_tiles(counts.of[g]);
  DecodeSplit split;
  int32_t each = all <= splits ? 1 : (all + splits - 1) / splits;
  // A division is slow on a GPU, and in short caches every tile is a split.
  const auto parts = [&](int32_t of) { return each == 1 ? of : (of + each - 1) / each; };
  for (;; ++each) {
    split.used = 0;
    for (int g = 0; g < kDecodeGroups; ++g) split.used += parts(tiles[g]);
    if (split.used <= splits) break;
  }
  int32_t first = 0;  // split of the group's first slot
  for (int g = 0; g < kDecodeGroups; ++g) {
    const int32_t of_group = parts(tiles[g]);
    if (index >= first && index < first + of_group) {
      split.group = static_cast<DecodeGroup>(g);
      split.begin = (index - first) * each * kDecodeTile;
      const int32_t end = split.begin + each * kDecodeTile;
      split.end = end < counts.of[g] ? end : counts.of[g];
    }
    first += of_group;
  }
  return split;
}

}  // namespace kvg::cuda
