#include "kernels/cuda/attention/prefill_plan.h"

#include "base/error.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace kvg::cuda {

namespace {

constexpr int64_t kMostSlots = int64_t{1} << 30;  // the kernel counts them in 32 bits
constexpr int kTileSlots = 64;

int64_t tiles_of(int64_t slots) { return (slots + kTileSlots - 1) / kTileSlots; }

class Planner {
 public:
  Planner(const AttentionParams& p, const CodecLookup& lookup, const PrefillTiling& tiling)
      : p_(p), lookup_(lookup), tiling_(tiling), units_per_item_(tiling.rows / p.streams) {}

  PrefillPlan plan() {
    plan_.blocks.reserve(p_.blocks.size());
    plan_.items.reserve(p_.blocks.size());
    plan_.groups.reserve(3 * p_.blocks.size());
    for (const AttentionBlock& block : p_.blocks) {
      if (block.rows > 0) add(block);
    }
    if (tiling_.joined > 1) join_blocks();
    for (size_t i = 0; i < plan_.blocks.size(); ++i) {
      for (int64_t unit = 0; unit < units(plan_.blocks[i]); unit += units_per_item_) {
        plan_.items.push_back({static_cast<int32_t>(i), static_cast<int32_t>(unit)});
      }
    }
    sort_items();
    find_slot_rows(p_.kv_heads, p_.head_dim, &plan_);
    return std::move(plan_);
  }

 private:
  void add(const AttentionBlock& block) {
    PrefillBlock row;
    row.row_begin = block.row_begin;
    row.rows = static_cast<int32_t>(block.rows);
    row.group_begin = static_cast<int32_t>(plan_.groups.size());
    for (const AttentionGroup& group : block.groups) {
      if (group.count > 0) plan_.groups.push_back(device_group(block, group));
    }
    row.group_end = static_cast<int32_t>(plan_.groups.size());
    // Changing frames costs time, and sums must end in no frame. The order of the others stays.
    const auto first = plan_.groups.begin() + row.group_begin;
    const auto by_frame = [](const PrefillGroup& a, const PrefillGroup& b) {
      return a.v_rotation != b.v_rotation ? a.v_rotation > b.v_rotation
                                          : a.k_rotation > b.k_rotation;
    };
    if (!std::is_sorted(first, plan_.groups.end(), by_frame)) {
      std::stable_sort(first, plan_.groups.end(), by_frame);
    }
    KVG_CHECK(units(row) < kMostSlots, "attention: rows of a block");
    plan_.blocks.push_back(row);
  }

  int64_t units(const PrefillBlock& block) const {
    return int64_t{block.rows} * tiling_.unit_heads;
  }

  // Where small blocks follow each other, as many as an item has room for become one, so that what
  // they all read is brought once and no rows of the item are empty.
  void join_blocks() {
    std::vector<PrefillBlock> blocks;
    std::vector<PrefillGroup> groups;
    for (size_t i = 0; i < plan_.blocks.size();) {
      const size_t count = joinable(i);
      PrefillBlock block = plan_.blocks[i];
      block.group_begin = static_cast<int32_t>(groups.size());
      if (count == 1) {
        groups.insert(groups.end(), first_group(i), end_group(i));
      } else {
        PrefillGroup shared = *last_group(i);
        shared.step = last_group(i + 1)->first_slot - shared.first_slot;
        for (size_t j = 0; j < count; ++j) {
          groups.insert(groups.end(), first_group(i + j), last_group(i + j));
          block.own_end[j] = static_cast<int32_t>(groups.size());
          if (j > 0) block.rows += plan_.blocks[i + j].rows;
        }
        const PrefillGroup& newest = *last_group(i + count - 1);
        shared.count = newest.first_slot + newest.count - shared.first_slot;
        plan_.most_slots = std::max<int64_t>(plan_.most_slots, shared.count);
        groups.push_back(shared);
        block.joined = static_cast<int32_t>(count);
      }
      block.group_end = static_cast<int32_t>(groups.size());
      blocks.push_back(block);
      i += count;
    }
    plan_.blocks = std::move(blocks);
    plan_.groups = std::move(groups);
  }

  // How many blocks from `first` on make one (PrefillBlock), at least 1.
  size_t joinable(size_t first) const {
    const int64_t most = units_per_item_ / tiling_.joined;
    if (!shares(first)) return 1;
    int32_t step = 0;
    size_t count = 1;
    for (; count < static_cast<size_t>(tiling_.joined); ++count) {
      const size_t at = first + count;
      if (at == plan_.blocks.size() || !shares(at)) break;
      const PrefillBlock& before = plan_.blocks[at - 1];
      const PrefillBlock& block = plan_.blocks[at];
      const PrefillGroup& a = *last_group(at - 1);
      const PrefillGroup& b = *last_group(at);
      if (count == 1) step = b.first_slot - a.first_slot;
      const bool fits = units(before) == most && units(block) <= most &&
                        block.row_begin == before.row_begin + before.rows;
      const bool same = b.k_codes == a.k_codes && b.v_codes == a.v_codes &&
                        b.capacity == a.capacity && b.k_codec == a.k_codec &&
                        b.v_codec == a.v_codec && b.window == a.window;
      // By position alone, rows of a block read none of the slots that the next one has beyond it.
      const bool follows = step >= 0 && b.first_slot - a.first_slot == step &&
                           b.newest == a.newest + before.rows - step &&
                           a.newest + before.rows <= a.count && b.count + step >= a.count;
      if (!fits || !same || !follows) break;
    }
    return count;
  }
  // Whether others may read the last group too, and the rest is for the block's rows as a whole.
  bool shares(size_t block) const {
    if (first_group(block) == end_group(block)) return false;
    const PrefillGroup& last = *last_group(block);
    const auto halves = [](int64_t sum, const PrefillGroup& group) {
      return sum + tiles_of(group.count);
    };
    const auto whole = [](const PrefillGroup& group) {
      return group.window == kNoWindow && group.newest >= group.count;
    };
    return !last.weighed && last.first_slot + last.count <= last.capacity &&
           std::all_of(first_group(block), last_group(block), whole) &&
           std::accumulate(first_group(block), last_group(block), int64_t{0}, halves) <= 2;
  }
  std::vector<PrefillGroup>::const_iterator first_group(size_t block) const {
    return plan_.groups.begin() + plan_.blocks[block].group_begin;
  }
  std::vector<PrefillGroup>::const_iterator end_group(size_t block) const {
    return plan_.groups.begin() + plan_.blocks[block].group_end;
  }
  std::vector<PrefillGroup>::const_iterator last_group(size_t block) const {
    return end_group(block) - 1;
  }

  PrefillGroup device_group(const AttentionBlock& block, const AttentionGroup& group) {
    const SlotStore& store = group.store;
    KVG_CHECK(store.capacity < kMostSlots, "attention: slots of a group");
    PrefillGroup out;
    out.k_codes = store.k_codes;
    out.v_codes = store.v_codes;
    out.k_scales = store.k_scales;
    out.v_scales = store.v_scales;
    out.valid = group.valid;
    out.log_weight = group.log_weight;
    out.capacity = static_cast<int32_t>(store.capacity);
    out.first_slot = static_cast<int32_t>(group.first_slot);
    out.count = static_cast<int32_t>(group.count);
    plan_.most_slots = std::max(plan_.most_slots, group.count);
    out.newest = out.count;
    out.window = kNoWindow;
    out.query_frame = group.query_frame;
    if (group.first_position >= 0) {
      const int64_t newest = block.first_position - group.first_position;
      KVG_CHECK(std::abs(newest) < kMostSlots, "attention: positions of a group");
      out.newest = static_cast<int32_t>(newest);
      if (group.window > 0) {
        out.window = static_cast<int32_t>(std::min<int64_t>(group.window, kNoWindow));
      }
    }
    out.k_codec = codec_index(*store.k_codec);
    out.v_codec = codec_index(*store.v_codec);
    const DeviceCodec& k = plan_.codecs[static_cast<size_t>(out.k_codec)];
    const DeviceCodec& v = plan_.codecs[static_cast<size_t>(out.v_codec)];
    out.k_rotation = rotation_index(k);
    out.v_rotation = rotation_index(v);
    out.plain_k = is_plain(k);
    out.plain_v = is_plain(v);
    out.weighed = group.valid != nullptr || group.log_weight != nullptr || k.scaled || v.scaled;
    return out;
  }

  static bool is_plain(const DeviceCodec& codec) {
    return codec.kind == CodecKind::bf16 && codec.band == nullptr;
  }

  int32_t codec_index(const Codec& codec) {
    const auto found = std::find(codecs_.begin(), codecs_.end(), &codec);
    if (found == codecs_.end()) {
      codecs_.push_back(&codec);
      plan_.codecs.push_back(lookup_(codec));
      return static_cast<int32_t>(codecs_.size()) - 1;
    }
    return static_cast<int32_t>(found - codecs_.begin());
  }

  // The first codec with the same rotation.
  int32_t rotation_index(const DeviceCodec& codec) const {
    if (!codec.rotates) return kIdentityFrame;
    const auto same = [&](const DeviceCodec& other) {
      return other.rotates && other.rotation == codec.rotation && other.seed == codec.seed;
    };
    const auto found = std::find_if(plan_.codecs.begin(), plan_.codecs.end(), same);
    return static_cast<int32_t>(found - plan_.codecs.begin());
  }

  int64_t tiles(const PrefillItem& item) const {
    const PrefillBlock& block = plan_.blocks[static_cast<size_t>(item.block)];
    const int64_t heads = tiling_.unit_heads;
    const int64_t last_unit =
        std::min<int64_t>(item.first_unit + units_per_item_, block.rows * heads) - 1;
    int64_t sum = 0;
    for (int32_t g = block.group_begin; g < block.group_end; ++g) {
      const PrefillGroup& group = plan_.groups[static_cast<size_t>(g)];
      const int64_t begin =
          std::max<int64_t>(0, group.newest + item.first_unit / heads - group.window + 1);
      const int64_t end = std::min<int64_t>(group.count, group.newest + last_unit / heads + 1);
      sum += std::max<int64_t>(0, tiles_of(end - begin));
    }
    return sum;
  }

  // The longest first, so that none of them is alone at the end.
  void sort_items() {
    std::vector<int64_t> cost(plan_.items.size());
    std::transform(plan_.items.begin(), plan_.items.end(), cost.begin(),
                   [&](const PrefillItem& item) { return tiles(item); });
    if (std::is_sorted(cost.begin(), cost.end(), std::greater<>())) return;
    std::vector<size_t> order(cost.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return cost[a] > cost[b]; });
    std::vector<PrefillItem> sorted(order.size());
    std::transform(order.begin(), order.end(), sorted.begin(),
                   [&](size_t i) { return plan_.items[i]; });
    plan_.items = std::move(sorted);
  }

  const AttentionParams& p_;
  const CodecLookup& lookup_;
  PrefillTiling tiling_;
  int64_t units_per_item_;
  PrefillPlan plan_;
  std::vector<const Codec*> codecs_;
};

// Slots [0, n + shift) of `count` that exist, summed over n = newest .. newest + rows - 1.
int64_t sum_clamped(int64_t newest, int64_t rows, int64_t shift, int64_t count) {
  const auto sum_below = [count](int64_t end) {  // of clamp(m, 0, count), m < end
    if (end <= 0) return int64_t{0};
    const int64_t ramp = std::min(end, count);
    return ramp * (ramp - 1) / 2 + (end - ramp) * count;
  };
  return sum_below(newest + rows + shift) - sum_below(newest + shift);
}

int64_t visible_slots(const AttentionBlock& block, const AttentionGroup& group) {
  if (group.first_position < 0) return block.rows * group.count;
  const int64_t newest = block.first_position - group.first_position;
  const int64_t all = sum_clamped(newest, block.rows, 1, group.count);
  if (group.window == 0) return all;
  return all - sum_clamped(newest, block.rows, 1 - group.window, group.count);
}

// Slots that at least one row of the block may read.
int64_t read_slots(const AttentionBlock& block, const AttentionGroup& group) {
  if (group.first_position < 0) return group.count;
  const int64_t newest = block.first_position - group.first_position;
  const int64_t end = std::clamp<int64_t>(newest + block.rows, 0, group.count);
  const int64_t begin =
      group.window > 0 ? std::clamp<int64_t>(newest - group.window + 1, 0, end) : 0;
  return end - begin;
}

}  // namespace

PrefillPlan plan_prefill(const AttentionParams& p, const CodecLookup& lookup,
                         const PrefillTiling& tiling) {
  return Planner(p, lookup, tiling).plan();
}

int dense_unit_heads(int group_heads) { return std::gcd(group_heads, 8); }

void find_slot_rows(int kv_heads, int head_dim, PrefillPlan* plan) {
  const int64_t row_bytes = int64_t{2} * head_dim;
  uintptr_t begin = UINTPTR_MAX, end = 0;
  const auto each_store = [&](const auto& visit) {
    for (PrefillGroup& group : plan->groups) {
      if (group.plain_k) visit(group, reinterpret_cast<uintptr_t>(group.k_codes), group.copied_k);
      if (group.plain_v) visit(group, reinterpret_cast<uintptr_t>(group.v_codes), group.copied_v);
    }
  };
  each_store([&](const PrefillGroup& group, uintptr_t codes, bool&) {
    begin = std::min(begin, codes);
    end = std::max(end, codes + static_cast<uintptr_t>(kv_heads * group.capacity * row_bytes));
  });
  if (end == 0) return;
  constexpr int64_t kMostRows = (int64_t{1} << 31) - 1;
  const auto rows = static_cast<int64_t>((end - begin) / static_cast<uintptr_t>(row_bytes));
  plan->slot_base = reinterpret_cast<const uint8_t*>(begin);
  plan->slot_rows = std::min(rows, kMostRows);
  each_store([&](const PrefillGroup& group, uintptr_t codes, bool& copied) {
    const auto offset = static_cast<int64_t>(codes - begin);
    const int64_t last = offset / row_bytes + kv_heads * group.capacity;
    copied = offset % row_bytes == 0 && begin % 16 == 0 && last <= plan->slot_rows;
  });
}

int64_t prefill_flops(const AttentionParams& p) {
  int64_t visible = 0;
  for (const AttentionBlock& block : p.blocks) {
    for (const AttentionGroup& group : block.groups) visible += visible_slots(block, group);
  }
  return visible * 4 * p.streams * p.heads * p.head_dim;
}

int64_t prefill_bytes(const AttentionParams& p) {
  const int64_t row_bytes = int64_t{p.heads} * p.head_dim * 2;
  int64_t sum = 0;
  for (const AttentionBlock& block : p.blocks) {
    uint64_t frames = 0;  // those that are read, a bit each
    for (const AttentionGroup& group : block.groups) {
      if (group.count == 0) continue;
      frames |= uint64_t{1} << (group.query_frame % 64);
      const Codec& k = *group.store.k_codec;
      const Codec& v = *group.store.v_codec;
      sum += read_slots(block, group) * p.kv_heads *
             (k.code_bytes() + k.scale_bytes() + v.code_bytes() + v.scale_bytes());
    }
    sum += block.rows * row_bytes * (int64_t{std::popcount(frames)} * p.streams + 1);
    if (p.streams == 2) sum += block.rows * p.heads * 4;
  }
  return sum;
}

}  // namespace kvg::cuda
