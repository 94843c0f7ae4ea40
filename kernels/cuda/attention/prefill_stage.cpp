#include "kernels/cuda/attention/prefill_stage.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace kvg::cuda {

namespace {

using StageKey = std::tuple<const uint8_t*, int32_t, int32_t>;  // codes, first slot, count

int64_t stage_bytes(const PrefillStage& stage, int kv_heads, int head_dim) {
  return int64_t{2} * kv_heads * stage.count * head_dim;
}

}  // namespace

std::vector<PrefillStage> plan_stages(const PrefillPlan& plan, int kv_heads, int head_dim,
                                      bool all) {
  std::vector<PrefillStage> stages;
  std::set<StageKey> known;
  uint8_t* to = nullptr;
  const auto add = [&](const PrefillGroup& group, const uint8_t* codes, int32_t codec) {
    if (!known.emplace(codes, group.first_slot, group.count).second) return;
    stages.push_back({codes, to, codec, group.capacity, group.first_slot, group.count});
    to += stage_bytes(stages.back(), kv_heads, head_dim);
  };
  for (const PrefillGroup& group : plan.groups) {
    // Both: a group has one capacity and one first slot.
    if (!all && group.copied_k && group.copied_v) continue;
    add(group, group.k_codes, group.k_codec);
    add(group, group.v_codes, group.v_codec);
  }
  return stages;
}

int64_t staged_bytes(const std::vector<PrefillStage>& stages, int kv_heads, int head_dim) {
  int64_t sum = 0;
  for (const PrefillStage& stage : stages) sum += stage_bytes(stage, kv_heads, head_dim);
  return sum;
}

bool use_stages(std::vector<PrefillStage>* stages, uint8_t* memory, int kv_heads, int head_dim,
                PrefillPlan* plan) {
  std::map<StageKey, const uint8_t*> places;
  for (PrefillStage& stage : *stages) {
    stage.to = memory + reinterpret_cast<uintptr_t>(stage.to);
    places[{stage.codes, stage.first_slot, stage.count}] = stage.to;
  }
  for (PrefillGroup& group : plan->groups) {
    const auto k = places.find({group.k_codes, group.first_slot, group.count});
    const auto v = places.find({group.v_codes, group.first_slot, group.count});
    if (k == places.end() || v == places.end()) continue;
    group.k_codes = k->second;
    group.v_codes = v->second;
    group.plain_k = group.plain_v = true;
    group.capacity = group.count;
    group.first_slot = 0;
  }
  find_slot_rows(kv_heads, head_dim, plan);
  return std::ranges::all_of(
      plan->groups, [](const PrefillGroup& group) { return group.copied_k && group.copied_v; });
}

}  // namespace kvg::cuda
