#include "kernels/reference/landmark.h"

#include "base/error.h"
#include "kernels/landmark_codec.h"
#include "kernels/reference/landmark_exact.h"
#include "kernels/reference/landmark_summary.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>
#include <vector>

namespace kvg {

namespace {

bool same_codecs(const SlotStore& a, const SlotStore& b) {
  return a.k_codec == b.k_codec && a.v_codec == b.v_codec;
}

void check_snapshot(const LandmarkBank& bank, const LandmarkBank& snapshot) {
  KVG_CHECK(bank.exact.capacity == snapshot.exact.capacity &&
                bank.summary.capacity == snapshot.summary.capacity,
            "landmark: a snapshot has the bank's capacity");
  KVG_CHECK(bank.exact.capacity == 0 || same_codecs(bank.exact, snapshot.exact),
            "landmark: a snapshot has the bank's codecs");
  const SlotStore& summary = snapshot.summary;
  KVG_CHECK(summary.capacity == 0 || same_codecs(bank.summary, summary) ||
                (is_plain_bf16(*summary.k_codec) && is_plain_bf16(*summary.v_codec)),
            "landmark: a snapshot has averages as the bank or in bf16");
}

void check_bank(const LandmarkParams& p) {
  const LandmarkBank& bank = p.bank;
  if (bank.exact.capacity > 0) {
    KVG_CHECK(bank.exact_valid != nullptr && bank.stamps != nullptr, "landmark: exact bank");
    KVG_CHECK(bank.exact.v_codec->head_dim() == p.k.size(2), "landmark: exact head_dim");
    KVG_CHECK(p.rules.sinks <= bank.exact.capacity, "landmark: more sinks than exact slots");
  }
  if (bank.summary.capacity > 0) {
    KVG_CHECK(bank.summary_valid != nullptr, "landmark: summary bank");
    KVG_CHECK(!bank.summary.k_codec->rotates() && !bank.summary.v_codec->rotates(),
              "landmark: averages do not go through a rotation");
    KVG_CHECK(bank.summary.v_codec->head_dim() == p.k.size(2), "landmark: summary head_dim");
    KVG_CHECK((bank.counts == nullptr) == (bank.log_weight == nullptr), "landmark: counts");
    KVG_CHECK(p.eta != nullptr && !p.slow_dims.empty(), "landmark: rates and slow dimensions");
  }
}

}  // namespace

void check(const LandmarkParams& p, DType scalar) {
  KVG_CHECK(p.k.rank == 3 && p.v.rank == 3 && p.k.shape == p.v.shape, "landmark: k and v");
  KVG_CHECK(p.k.dtype == scalar && p.v.dtype == scalar, "landmark: type of k and v");
  KVG_CHECK(is_packed(p) || (p.token_stride >= p.k.size(2) && p.head_stride >= p.k.size(2)),
            "landmark: strides of k and v");
  KVG_CHECK(p.gate.dtype == DType::f32 && p.gate.elements() == p.k.size(0), "landmark: gate");
  KVG_CHECK(p.first_position >= 0, "landmark: first position");
  check_bank(p);
  int64_t end = 0;
  for (const LandmarkStep& step : p.steps) {
    KVG_CHECK(step.begin == end && step.end >= step.begin, "landmark: steps follow each other");
    end = step.end;
    if (step.snapshot == nullptr) continue;
    check_snapshot(p.bank, *step.snapshot);
  }
  KVG_CHECK(end <= p.k.size(0), "landmark: steps beyond the tokens");
}

namespace reference {

namespace {

std::vector<LandmarkToken> evicted_tokens(const LandmarkParams& p, const LandmarkStep& step) {
  std::vector<LandmarkToken> tokens;
  const float* gate = p.gate.as<float>();
  for (int64_t row = step.begin; row < step.end; ++row) {
    tokens.push_back({row, p.first_position + row, gate[row]});
  }
  return tokens;
}

// Of torch.topk(gates, k, sorted=False) on CUDA: the tokens above the k-th gate by position, then
// as many equal to it by position as fit.
void order_by_index(size_t k, std::vector<LandmarkToken>* tokens) {
  std::vector<float> gates;
  for (const LandmarkToken& token : *tokens) gates.push_back(token.gate);
  const auto nth = gates.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(gates.begin(), nth, gates.end(), std::greater<>());
  const float least = *nth;
  std::vector<LandmarkToken> best;
  for (const LandmarkToken& token : *tokens) {
    if (token.gate > least) best.push_back(token);
  }
  for (const LandmarkToken& token : *tokens) {
    if (token.gate == least && best.size() < k) best.push_back(token);
  }
  *tokens = std::move(best);
}

// Gate descending; equal gates by novelty where asked for, then by position.
template <typename T>
void order_by_gate(const LandmarkParams& p, std::optional<ExactBank<T>>& exact,
                   std::vector<LandmarkToken>* tokens) {
  std::stable_sort(tokens->begin(), tokens->end(),
                   [](const LandmarkToken& a, const LandmarkToken& b) { return a.gate > b.gate; });
  if (p.rules.tie != LandmarkTie::novelty || !exact) return;
  for (auto first = tokens->begin(); first != tokens->end();) {
    const auto last = std::find_if(
        first, tokens->end(), [first](const LandmarkToken& t) { return t.gate != first->gate; });
    if (last - first > 1) {
      std::vector<std::pair<T, LandmarkToken>> scored;
      for (auto at = first; at != last; ++at) scored.emplace_back(exact->match(*at).score, *at);
      std::stable_sort(scored.begin(), scored.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      std::transform(scored.begin(), scored.end(), first, [](const auto& s) { return s.second; });
    }
    first = last;
  }
}

// Sinks go to their own slots and are offered to nobody.
template <typename T>
void pin_sinks(const LandmarkParams& p, std::optional<ExactBank<T>>& exact,
               std::vector<LandmarkToken>* tokens) {
  if (!exact) return;
  std::erase_if(*tokens, [&](const LandmarkToken& token) {
    if (token.position >= p.rules.sinks) return false;
    exact->pin(token);
    return true;
  });
}

template <typename T>
void evict(const LandmarkParams& p, const LandmarkStep& step, std::optional<ExactBank<T>>& exact,
           std::optional<SummaryBank<T>>& summary) {
  std::vector<LandmarkToken> tokens = evicted_tokens(p, step);
  pin_sinks(p, exact, &tokens);
  const auto at_most = [&tokens](int64_t limit) {
    return std::min(tokens.size(), static_cast<size_t>(limit));
  };
  const size_t to_exact = exact ? at_most(p.rules.exact_candidates) : 0;
  const size_t to_summary = summary ? at_most(p.rules.summary_candidates) : 0;
  const size_t wanted = std::max(to_exact, to_summary);
  if (wanted == 0) return;
  if (p.rules.order == LandmarkOrder::index) {
    order_by_index(wanted, &tokens);
  } else {
    order_by_gate(p, exact, &tokens);
  }
  if (to_exact > 0) exact->offer({tokens.data(), to_exact}, step.single);
  if (to_summary == 0) return;
  tokens.resize(to_summary);
  // The order selects; averages that take one token at a time take them as they came.
  if (p.rules.routing == LandmarkRouting::live) {
    std::sort(tokens.begin(), tokens.end(), [](const LandmarkToken& a, const LandmarkToken& b) {
      return a.position < b.position;
    });
  }
  summary->offer(tokens, step.single);
}

void copy_store(const SlotStore& from, const SlotStore& to, int64_t kv_heads) {
  if (from.capacity == 0) return;
  const int64_t slots = kv_heads * from.capacity;
  const auto copy = [slots](const Codec& codec, const uint8_t* codes, const uint16_t* scales,
                            const Codec& to_codec, uint8_t* to_codes, uint16_t* to_scales) {
    if (&codec != &to_codec) {
      std::vector<float> vectors(static_cast<size_t>(slots * codec.head_dim()));
      codec.decode(codes, scales, slots, vectors.data());
      to_codec.encode({}, vectors.data(), slots, to_codes, to_scales);
      return;
    }
    std::memcpy(to_codes, codes, static_cast<size_t>(slots * codec.code_bytes()));
    if (codec.scale_bytes() > 0) {
      std::memcpy(to_scales, scales, static_cast<size_t>(slots * codec.scale_bytes()));
    }
  };
  copy(*from.k_codec, from.k_codes, from.k_scales, *to.k_codec, to.k_codes, to.k_scales);
  copy(*from.v_codec, from.v_codes, from.v_scales, *to.v_codec, to.v_codes, to.v_scales);
}

void take_snapshot(const LandmarkBank& from, const LandmarkBank& to, int64_t kv_heads) {
  copy_store(from.exact, to.exact, kv_heads);
  copy_store(from.summary, to.summary, kv_heads);
  std::copy_n(from.exact_valid, from.exact.capacity, to.exact_valid);
  std::copy_n(from.summary_valid, from.summary.capacity, to.summary_valid);
  if (to.positions != nullptr) std::copy_n(from.positions, from.exact.capacity, to.positions);
  if (from.log_weight != nullptr) {
    std::copy_n(from.log_weight, from.summary.capacity, to.log_weight);
  }
}

}  // namespace

template <typename T>
void landmark_absorb(const LandmarkParams& p) {
  KVG_CHECK(is_packed(p), "landmark: this set takes k and v packed");
  std::optional<ExactBank<T>> exact;
  std::optional<SummaryBank<T>> summary;
  const auto open_banks = [&] {
    if (!exact && p.bank.exact.capacity > 0) exact.emplace(p);
    if (!summary && p.bank.summary.capacity > 0) summary.emplace(p);
  };
  if (p.refresh_units) open_banks();
  for (const LandmarkStep& step : p.steps) {
    if (step.begin < step.end) {
      open_banks();
      evict<T>(p, step, exact, summary);
    }
    if (step.snapshot != nullptr) take_snapshot(p.bank, *step.snapshot, p.k.size(1));
  }
}

template void landmark_absorb<float>(const LandmarkParams&);
template void landmark_absorb<double>(const LandmarkParams&);

}  // namespace reference

}  // namespace kvg
