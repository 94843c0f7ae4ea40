#pragma once

#include "kernels/reference/landmark_vectors.h"
#include "kernels/reference/slots.h"

#include <map>
#include <span>

namespace kvg::reference {

// The exact bank while evictions are worked through: decides with unit values held in type T and
// writes through to the slots of LandmarkBank.
template <typename T>
class ExactBank {
 public:
  explicit ExactBank(const LandmarkParams& params)
      : p_(params),
        kv_heads_(static_cast<int>(params.k.size(1))),
        head_dim_(params.k.size(2)),
        slots_(params.bank.exact.capacity),
        round_{params.rules.bf16_arithmetic},
        units_(kv_heads_, slots_, head_dim_, round_, params.bank.exact_unit),
        scores_(static_cast<size_t>(slots_)),
        unit_(static_cast<size_t>(kv_heads_ * head_dim_)) {
    if (units_.resident() && !params.refresh_units) return;
    std::vector<T> values(static_cast<size_t>(slots_ * head_dim_));
    for (int h = 0; h < kv_heads_; ++h) {
      decode_slots(slot_array(p_.bank.exact, h, true), 0, slots_, values.data());
      for (int64_t m = 0; m < slots_; ++m) units_.set(h, m, values.data() + m * head_dim_);
    }
  }

  // The slot whose value is most like the token's, among those in use.
  struct Match {
    T score = T(-1e9);
    int64_t slot = 0;
    bool any = false;  // some slot is in use
  };
  Match match(const LandmarkToken& token) {
    for (int h = 0; h < kv_heads_; ++h) {
      T* unit = unit_.data() + h * head_dim_;
      std::copy_n(token_vector<T>(p_.v, token.row, h), head_dim_, unit);
      const Codec& codec = *p_.bank.exact.v_codec;
      if (codec.rotates()) codec.to_frame({p_.layer, h, true}, unit, 1);
      normalize(unit, head_dim_, round_, unit);
    }
    units_.compare(unit_.data(), scores_.data());
    Match best;
    for (int64_t m = 0; m < slots_; ++m) {
      if (p_.bank.exact_valid[m] == 0) continue;
      const T score = scores_[static_cast<size_t>(m)];
      if (!best.any || score > best.score) best = {score, m, true};
    }
    return best;
  }

  // Token of position < sinks into the slot that is its own.
  void pin(const LandmarkToken& token) {
    write(token.position, {&token.row, 1});
    p_.bank.stamps[token.position] = token.position;
  }

  void offer(std::span<const LandmarkToken> tokens, bool single) {
    if (p_.rules.routing == LandmarkRouting::live) {
      offer_live(tokens);
    } else if (p_.rules.routing == LandmarkRouting::triton && !single) {
      offer_triton(tokens);
    } else {
      offer_torch(tokens);
    }
  }

 private:
  bool kept(const LandmarkToken& token) const {
    return static_cast<double>(token.gate) >= p_.rules.tau_gate;
  }
  bool novel(const Match& match) const {
    return !match.any || static_cast<double>(match.score) < p_.rules.tau_novel;
  }
  bool hit(const Match& match) const {
    return match.any && static_cast<double>(match.score) >= p_.rules.tau_match;
  }

  // Slots in the order in which they are given up: free ones first, then by stamp; never a sink's.
  std::vector<int64_t> victims() const {
    std::vector<int64_t> order;
    for (int64_t m = p_.rules.sinks; m < slots_; ++m) order.push_back(m);
    const auto key = [this](int64_t m) {
      return p_.bank.exact_valid[m] != 0 ? p_.bank.stamps[m] : int64_t{-1};
    };
    std::stable_sort(order.begin(), order.end(),
                     [&key](int64_t a, int64_t b) { return key(a) < key(b); });
    return order;
  }
  int64_t victim() const {  // the first of victims(), -1: none
    int64_t best = -1;
    for (int64_t m = p_.rules.sinks; m < slots_; ++m) {
      if (p_.bank.exact_valid[m] == 0) return m;
      if (best < 0 || p_.bank.stamps[m] < p_.bank.stamps[best]) best = m;
    }
    return best;
  }

  void touch(int64_t slot, int64_t position) {
    p_.bank.stamps[slot] = std::max(p_.bank.stamps[slot], position);
  }

  void offer_live(std::span<const LandmarkToken> tokens) {
    for (const LandmarkToken& token : tokens) {
      if (!kept(token)) continue;
      const Match best = match(token);
      const bool is_novel = novel(best);
      const int64_t slot = is_novel ? victim() : best.slot;
      if (slot < 0) continue;
      if (is_novel || (p_.rules.refresh_on_hit && hit(best))) write(slot, {&token.row, 1});
      if (is_novel) {
        p_.bank.stamps[slot] = token.position;
      } else {
        touch(slot, token.position);
      }
    }
  }

  // All decisions against the bank as it is now; several tokens of one slot add up their changes.
  void offer_torch(std::span<const LandmarkToken> tokens) {
    const std::vector<int64_t> order = victims();
    std::map<int64_t, std::vector<int64_t>> writes;  // slot -> rows
    std::map<int64_t, int64_t> touches;              // slot -> newest position
    size_t rank = 0;
    for (const LandmarkToken& token : tokens) {
      if (!kept(token)) continue;
      const Match best = match(token);
      const bool is_novel = novel(best);
      if (is_novel && rank >= order.size()) continue;
      const int64_t slot = is_novel ? order[rank++] : best.slot;
      if (is_novel || (p_.rules.refresh_on_hit && hit(best))) writes[slot].push_back(token.row);
      const auto [at, first] = touches.try_emplace(slot, token.position);
      if (!first) at->second = std::max(at->second, token.position);
    }
    for (const auto& [slot, rows] : writes) write(slot, rows);
    for (const auto& [slot, position] : touches) p_.bank.stamps[slot] = position;
  }

  // Values as they were at the start, slots and stamps as they become.
  void offer_triton(std::span<const LandmarkToken> tokens) {
    std::map<int64_t, std::vector<int64_t>> writes;
    for (const LandmarkToken& token : tokens) {
      if (!kept(token)) continue;
      const Match best = match(token);
      const bool is_novel = novel(best);
      if (!is_novel && !hit(best)) continue;
      const int64_t slot = is_novel ? victim() : best.slot;
      if (slot < 0) continue;
      if (is_novel || p_.rules.refresh_on_hit) writes[slot].push_back(token.row);
      if (is_novel) p_.bank.exact_valid[slot] = 1;
      p_.bank.stamps[slot] = token.position;
    }
    for (const auto& [slot, rows] : writes) write(slot, rows);
  }

  // Writes one slot of every KV head. A copy takes the last of `rows`; a published delta copy adds
  // k - m of each of them to m.
  void write(int64_t slot, std::span<const int64_t> rows) {
    std::vector<T> x(static_cast<size_t>(head_dim_));
    for (int h = 0; h < kv_heads_; ++h) {
      for (const bool value : {false, true}) {
        const SlotArray array = slot_array(p_.bank.exact, h, value);
        const CodecSite site{p_.layer, h, value};
        const Tensor& source = value ? p_.v : p_.k;
        if (p_.rules.delta_copy) {
          add_deltas(array, site, slot, source, rows, x.data());
        } else {
          std::copy_n(token_vector<T>(source, rows.back(), h), head_dim_, x.data());
        }
        encode_slots(array, site, slot, 1, x.data());
        if (!value) continue;
        decode_slots(array, slot, 1, x.data());
        units_.set(h, slot, x.data());
      }
    }
    p_.bank.exact_valid[slot] = 1;
    if (p_.bank.positions == nullptr) return;
    const bool mixed = p_.rules.delta_copy && rows.size() > 1;  // changes of several, added up
    p_.bank.positions[slot] = mixed ? -1 : p_.first_position + rows.back();
  }

  void add_deltas(const SlotArray& array, const CodecSite& site, int64_t slot, const Tensor& source,
                  std::span<const int64_t> rows, T* x) const {
    decode_slots(array, slot, 1, x);
    if (array.codec->rotates()) array.codec->from_frame(site, x, 1);
    for (int64_t d = 0; d < head_dim_; ++d) {
      T change = 0;
      for (const int64_t row : rows) {
        change = round_(change + round_(token_vector<T>(source, row, site.kv_head)[d] - x[d]));
      }
      x[d] = round_(x[d] + change);
    }
  }

  const LandmarkParams& p_;
  int kv_heads_;
  int64_t head_dim_, slots_;
  Arithmetic<T> round_;
  UnitVectors<T> units_;
  std::vector<T> scores_, unit_;
};

}  // namespace kvg::reference
