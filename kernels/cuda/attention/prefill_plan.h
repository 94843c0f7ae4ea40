#pragma once

#include "kernels/cuda/attention/prefill_launch.h"
#include "kernels/cuda/codec/device_codec.h"
#include "kernels/ops.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace kvg::cuda {

// The tables of PrefillLaunch for one call, on the host.
struct PrefillPlan {
  std::vector<PrefillItem> items;  // those that read most first
  std::vector<PrefillBlock> blocks;
  std::vector<PrefillGroup> groups;  // of each block: those in a rotated frame first
  std::vector<DeviceCodec> codecs;
  // As in PrefillLaunch.
  const uint8_t* slot_base = nullptr;
  int64_t slot_rows = 0;
  int64_t most_slots = 0;
};

using CodecLookup = std::function<DeviceCodec(const Codec&)>;

struct PrefillTiling {
  int rows = 0;        // packed query rows (row, one of unit_heads heads, stream) of an item
  int unit_heads = 1;  // a divisor of the query heads of a KV head
  int joined = 1;      // blocks that an item may be of (PrefillBlock::joined), at most kMostJoined
};

PrefillPlan plan_prefill(const AttentionParams& p, const CodecLookup& lookup,
                         const PrefillTiling& tiling);

// The unit_heads of dense kernels (PrefillLaunch::unit_heads).
int dense_unit_heads(int group_heads);

// Finds one range of memory with the plain slots of all groups, and which of them are rows of it
// (slot_base, slot_rows, PrefillGroup::copied_k and copied_v). plan_prefill() has done it.
void find_slot_rows(int kv_heads, int head_dim, PrefillPlan* plan);

// 4 * streams * heads * head_dim for every slot that a row may read; masks are not looked at.
int64_t prefill_flops(const AttentionParams& p);
// Queries and outputs once, and for each block the slots that its rows may read once.
int64_t prefill_bytes(const AttentionParams& p);

}  // namespace kvg::cuda
