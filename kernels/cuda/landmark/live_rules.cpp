#include "kernels/cuda/landmark/live_rules.h"

#include "kernels/landmark_codec.h"

#include <cmath>
#include <limits>

namespace kvg::cuda {

namespace {

// float(x) >= this, if and only if double(x) >= threshold.
float least_float(double threshold) {
  const auto near = static_cast<float>(threshold);
  const bool below = static_cast<double>(near) < threshold;
  return below ? std::nextafter(near, std::numeric_limits<float>::infinity()) : near;
}

bool rules_fit(const LandmarkRules& r) {
  return r.routing == LandmarkRouting::live && r.insert == LandmarkInsert::free &&
         r.order == LandmarkOrder::sorted && r.overwrite_on_insert && !r.refresh_on_hit &&
         !r.energy_scale && !r.delta_copy && !r.bf16_arithmetic;
}

bool aligned(const LandmarkBank& bank) {
  const auto whole = [](const void* pointer) {
    return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  };
  return whole(bank.exact.k_codes) && whole(bank.exact.v_codes) && whole(bank.summary.k_codes) &&
         whole(bank.summary.v_codes);
}

bool in_bf16(const SlotStore& store) {
  return store.capacity == 0 || (is_plain_bf16(*store.k_codec) && is_plain_bf16(*store.v_codec));
}

bool summary_fits(const SlotStore& store, int32_t band) {
  return store.capacity == 0 ||
         (store.k_codec->spec().kind == CodecKind::f32 &&
          std::ssize(band_of(*store.k_codec)) == band &&
          store.v_codec->spec().kind == CodecKind::f32 && band_of(*store.v_codec).empty());
}

}  // namespace

LiveRules live_rules(const LandmarkRules& rules) {
  LiveRules live;
  live.tau_gate = least_float(rules.tau_gate);
  live.tau_novel = least_float(rules.tau_novel);
  live.tau_summary = least_float(rules.tau_summary);
  live.tau_merge = least_float(rules.tau_merge);
  live.exact_candidates =
      static_cast<int32_t>(std::min(rules.exact_candidates, int64_t{kLiveBlock}));
  live.sinks = static_cast<int32_t>(rules.sinks);
  live.novelty = rules.tie == LandmarkTie::novelty;
  live.gated_rate = rules.gated_rate;
  return live;
}

bool is_live(const LandmarkRules& rules, const LandmarkShape& shape, const LandmarkBank& bank,
             bool single, int64_t end) {
  const bool sizes = shape.kv_heads <= kLiveHeads && shape.exact <= kLiveSlots &&
                     shape.summary <= kLiveSlots && shape.most_tokens <= kLiveBlock &&
                     rules.summary_candidates >= shape.most_tokens &&
                     end <= std::numeric_limits<int32_t>::max();
  return rules_fit(rules) && (rules.gated_rate || !single) && sizes &&
         shape.exact + shape.summary > 0 &&
         (shape.summary == 0 || 2 * shape.band == shape.head_dim) && bank.exact_unit == nullptr &&
         bank.summary_unit == nullptr && in_bf16(bank.exact) &&
         summary_fits(bank.summary, shape.band) && aligned(bank);
}

bool is_live_snapshot(const LandmarkBank& snapshot) {
  return in_bf16(snapshot.exact) && in_bf16(snapshot.summary) && aligned(snapshot);
}

}  // namespace kvg::cuda
