#pragma once

#include "kernels/reference/landmark_vectors.h"
#include "kernels/reference/slots.h"

#include <span>

namespace kvg::reference {

// The summary bank while evictions are worked through: averages in type T, every change written
// through to the slots of LandmarkBank and read back.
template <typename T>
class SummaryBank {
 public:
  explicit SummaryBank(const LandmarkParams& params)
      : p_(params),
        kv_heads_(static_cast<int>(params.k.size(1))),
        head_dim_(params.k.size(2)),
        band_(static_cast<int64_t>(params.slow_dims.size())),
        slots_(params.bank.summary.capacity),
        round_{params.rules.bf16_arithmetic},
        scale_(params.rules.energy_scale
                   ? std::sqrt(static_cast<T>(head_dim_) / static_cast<T>(band_))
                   : T{1}),
        units_(kv_heads_, slots_, band_, round_, params.bank.summary_unit),
        k_(static_cast<size_t>(kv_heads_ * slots_ * band_)),
        v_(static_cast<size_t>(kv_heads_ * slots_ * head_dim_)),
        scores_(static_cast<size_t>(slots_)),
        unit_(static_cast<size_t>(kv_heads_ * band_)),
        wide_(static_cast<size_t>(head_dim_)) {
    for (int h = 0; h < kv_heads_; ++h) {
      for (int64_t m = 0; m < slots_; ++m) {
        read_slot(h, m);
        if (!units_.resident() || params.refresh_units) units_.set(h, m, k(h, m));
      }
    }
  }

  // `single`: a token that leaves alone in published decode.
  void offer(std::span<const LandmarkToken> tokens, bool single) {
    if (p_.rules.routing != LandmarkRouting::live && !single) {
      take_means(tokens);
      return;
    }
    for (const LandmarkToken& token : tokens) {
      if (kept(token)) take_one(token, single || p_.rules.gated_rate);
    }
  }

 private:
  // Where a token goes, and how well it fits.
  struct Route {
    int64_t slot = -1;
    T score = T(-1e9);
  };

  bool kept(const LandmarkToken& token) const {
    return static_cast<double>(token.gate) >= p_.rules.tau_summary;
  }
  T* k(int h, int64_t slot) { return k_.data() + (h * slots_ + slot) * band_; }
  T* v(int h, int64_t slot) { return v_.data() + (h * slots_ + slot) * head_dim_; }
  T eta(int h) const { return round_(static_cast<T>(p_.eta[h])); }

  // The most similar slot, among those in use or, when slots compete, among all.
  Route most_similar(const LandmarkToken& token) {
    for (int h = 0; h < kv_heads_; ++h) {
      const T* key = token_vector<T>(p_.k, token.row, h);
      T* unit = unit_.data() + h * band_;
      for (int64_t d = 0; d < band_; ++d) unit[d] = key[p_.slow_dims[static_cast<size_t>(d)]];
      normalize(unit, band_, round_, unit);
    }
    units_.compare(unit_.data(), scores_.data());
    Route best;
    for (int64_t m = 0; m < slots_; ++m) {
      if (p_.rules.insert == LandmarkInsert::free && p_.bank.summary_valid[m] == 0) continue;
      const T score = scores_[static_cast<size_t>(m)];
      if (best.slot < 0 || score > best.score) best = {m, score};
    }
    return best;
  }

  int64_t free_slot(int64_t from) const {
    while (from < slots_ && p_.bank.summary_valid[from] != 0) ++from;
    return from < slots_ ? from : -1;
  }

  // `next_free` is the first slot not yet promised to another token.
  int64_t route(const LandmarkToken& token, int64_t* next_free) {
    const Route best = most_similar(token);
    if (p_.rules.insert == LandmarkInsert::compete) return best.slot;
    if (best.slot >= 0 && static_cast<double>(best.score) >= p_.rules.tau_merge) return best.slot;
    const int64_t open = free_slot(*next_free);
    // All slots promised within one eviction and none to compare with: the last one takes the rest.
    if (open < 0) return best.slot >= 0 ? best.slot : slots_ - 1;
    *next_free = open + 1;
    return open;
  }

  void take_one(const LandmarkToken& token, bool gated) {
    int64_t next_free = 0;
    const int64_t slot = route(token, &next_free);
    const bool opens = p_.bank.summary_valid[slot] == 0 && p_.rules.overwrite_on_insert;
    T rates = 0;
    for (int h = 0; h < kv_heads_; ++h) {
      T rate = eta(h);
      if (gated) rate = round_(rate * round_(static_cast<T>(token.gate)));
      if (opens) rate = 1;
      move(h, slot, rate, token_vector<T>(p_.k, token.row, h), token_vector<T>(p_.v, token.row, h));
      rates += rate;
    }
    count(slot, 1, rates);
  }

  // m += rate * (x - m), keys scaled and in the slow dimensions only.
  void move(int h, int64_t slot, T rate, const T* key, const T* value) {
    T* k_mean = k(h, slot);
    for (int64_t d = 0; d < band_; ++d) {
      const T scaled = round_(key[p_.slow_dims[static_cast<size_t>(d)]] * scale_);
      k_mean[d] = round_(k_mean[d] + round_(rate * round_(scaled - k_mean[d])));
    }
    T* v_mean = v(h, slot);
    for (int64_t d = 0; d < head_dim_; ++d) {
      v_mean[d] = round_(v_mean[d] + round_(rate * round_(value[d] - v_mean[d])));
    }
    write_slot(h, slot);
  }

  // Published blocks: every token is routed by the averages as they are now; each slot then moves
  // once, towards the gate-weighted mean of its tokens.
  void take_means(std::span<const LandmarkToken> tokens) {
    std::vector<std::vector<LandmarkToken>> groups(static_cast<size_t>(slots_));
    int64_t next_free = 0;
    for (const LandmarkToken& token : tokens) {
      if (!kept(token)) continue;
      groups[static_cast<size_t>(route(token, &next_free))].push_back(token);
    }
    for (int64_t m = 0; m < slots_; ++m) {
      const auto& group = groups[static_cast<size_t>(m)];
      if (!group.empty()) take_mean(m, group);
    }
  }

  void take_mean(int64_t slot, std::span<const LandmarkToken> group) {
    T weight = 0;
    for (const LandmarkToken& token : group) {
      weight = round_(weight + round_(static_cast<T>(token.gate)));
    }
    if (!(weight > 0)) return;
    const bool opens = p_.bank.summary_valid[slot] == 0 && p_.rules.overwrite_on_insert;
    std::vector<T> key(static_cast<size_t>(head_dim_)), value(static_cast<size_t>(head_dim_));
    T rates = 0;
    for (int h = 0; h < kv_heads_; ++h) {
      weighted_mean(p_.k, group, h, weight, key.data());
      weighted_mean(p_.v, group, h, weight, value.data());
      T rate = eta(h);
      if (p_.rules.gated_rate) rate = round_(rate * round_(weight / static_cast<T>(group.size())));
      if (opens) rate = 1;
      move(h, slot, rate, key.data(), value.data());
      rates += rate;
    }
    count(slot, group.size(), rates);
  }

  void weighted_mean(const Tensor& x, std::span<const LandmarkToken> group, int h, T weight,
                     T* out) const {
    std::fill_n(out, head_dim_, T{0});
    for (const LandmarkToken& token : group) {
      const T* vector = token_vector<T>(x, token.row, h);
      const T gate = round_(static_cast<T>(token.gate));
      for (int64_t d = 0; d < head_dim_; ++d) out[d] = round_(out[d] + round_(vector[d] * gate));
    }
    const T divisor = std::max(weight, T(1e-6));
    for (int64_t d = 0; d < head_dim_; ++d) out[d] = round_(out[d] / divisor);
  }

  // `rates` is the sum over KV heads of the rate at which the slot has just moved: what it held
  // before is forgotten at that rate, and so are the tokens it stands for.
  void count(int64_t slot, size_t tokens, T rates) {
    if (p_.bank.counts != nullptr) {
      const T kept = 1 - rates / static_cast<T>(kv_heads_);
      const T before = p_.bank.summary_valid[slot] != 0 ? T(p_.bank.counts[slot]) : T{0};
      p_.bank.counts[slot] = static_cast<float>(kept * before + static_cast<T>(tokens));
      p_.bank.log_weight[slot] = std::log(p_.bank.counts[slot]);
    }
    p_.bank.summary_valid[slot] = 1;
  }

  void write_slot(int h, int64_t slot) {
    std::fill(wide_.begin(), wide_.end(), T{0});
    for (int64_t d = 0; d < band_; ++d) {
      wide_[static_cast<size_t>(p_.slow_dims[static_cast<size_t>(d)])] = k(h, slot)[d];
    }
    encode_slots(slot_array(p_.bank.summary, h, false), {p_.layer, h, false}, slot, 1,
                 wide_.data());
    encode_slots(slot_array(p_.bank.summary, h, true), {p_.layer, h, true}, slot, 1, v(h, slot));
    read_slot(h, slot);
    units_.set(h, slot, k(h, slot));
  }

  void read_slot(int h, int64_t slot) {
    decode_slots(slot_array(p_.bank.summary, h, false), slot, 1, wide_.data());
    for (int64_t d = 0; d < band_; ++d) {
      k(h, slot)[d] = wide_[static_cast<size_t>(p_.slow_dims[static_cast<size_t>(d)])];
    }
    decode_slots(slot_array(p_.bank.summary, h, true), slot, 1, v(h, slot));
  }

  const LandmarkParams& p_;
  int kv_heads_;
  int64_t head_dim_, band_, slots_;
  Arithmetic<T> round_;
  T scale_;  // of keys
  UnitVectors<T> units_;
  std::vector<T> k_, v_;  // [kv_heads, slots, slow dimensions], [kv_heads, slots, head_dim]
  std::vector<T> scores_, unit_, wide_;
};

}  // namespace kvg::reference
