#include "kernels/reference/landmark.h"

#include "base/random.h"
#include "kernels/landmark_codec.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

constexpr int kHeads = 2;
constexpr int kDim = 16;
constexpr int64_t kRow = int64_t{kHeads} * kDim;
const std::vector<int32_t> kSlow = {4, 5, 6, 7, 12, 13, 14, 15};
const std::vector<double> kEta = {0.1, 0.3};

// Banks that own their memory.
struct Banks {
  Banks(std::shared_ptr<const Codec> exact_codec, int64_t exact, int64_t summary)
      : codec(std::move(exact_codec)),
        keys(make_band_codec(CodecKind::f32, kDim, kSlow)),
        values(Codec::make({.kind = CodecKind::f32}, kDim)),
        codes(4),
        scales(2),
        exact_valid(static_cast<size_t>(exact)),
        summary_valid(static_cast<size_t>(summary)),
        stamps(static_cast<size_t>(exact)),
        counts(static_cast<size_t>(summary)),
        log_weight(static_cast<size_t>(summary)) {
    bank.exact = store(*codec, *codec, exact, 0);
    bank.summary = store(*keys, *values, summary, 2);
    scales[0].resize(static_cast<size_t>(kHeads * exact));
    scales[1] = scales[0];
    bank.exact.k_scales = scales[0].data();
    bank.exact.v_scales = scales[1].data();
    bank.exact_valid = exact_valid.data();
    bank.summary_valid = summary_valid.data();
    bank.stamps = stamps.data();
    bank.counts = counts.data();
    bank.log_weight = log_weight.data();
  }
  SlotStore store(const Codec& k, const Codec& v, int64_t capacity, size_t first) {
    codes[first].resize(static_cast<size_t>(kHeads * capacity * k.code_bytes()));
    codes[first + 1].resize(static_cast<size_t>(kHeads * capacity * v.code_bytes()));
    return {&k, &v, capacity, codes[first].data(), codes[first + 1].data(), nullptr, nullptr};
  }

  std::shared_ptr<const Codec> codec;
  std::unique_ptr<Codec> keys, values;
  std::vector<std::vector<uint8_t>> codes;
  std::vector<std::vector<uint16_t>> scales;
  std::vector<uint8_t> exact_valid, summary_valid;
  std::vector<int64_t> stamps;
  std::vector<float> counts, log_weight;
  LandmarkBank bank;
};

struct Stream {
  std::vector<double> k, v;
  std::vector<float> gate;
};

Stream random_stream(uint64_t seed, int64_t tokens) {
  Random random(seed);
  Stream stream;
  std::vector<double> common(static_cast<size_t>(2 * kRow));
  for (double& x : common) x = random.normal();
  for (int64_t t = 0; t < tokens; ++t) {
    const double spread = 0.3 + 1.5 * random.uniform();
    for (size_t d = 0; d < static_cast<size_t>(kRow); ++d) {
      // As a window codec would give them: exact in float.
      stream.k.push_back(static_cast<float>(common[d] + spread * random.normal()));
      stream.v.push_back(static_cast<float>(common[d + kRow] + spread * random.normal()));
    }
    stream.gate.push_back(static_cast<float>(0.05 * static_cast<double>(random.below(20))));
  }
  return stream;
}

template <typename T>
void absorb(const Stream& stream, int64_t begin, int64_t end, int64_t block,
            const LandmarkRules& rules, const LandmarkBank& bank) {
  std::vector<T> k(stream.k.begin() + begin * kRow, stream.k.begin() + end * kRow);
  std::vector<T> v(stream.v.begin() + begin * kRow, stream.v.begin() + end * kRow);
  std::vector<float> gate(stream.gate.begin() + begin, stream.gate.begin() + end);
  std::vector<LandmarkStep> steps;
  for (int64_t t = 0; t < end - begin; t += block) {
    steps.push_back({t, std::min(end - begin, t + block), false, nullptr});
  }
  LandmarkParams params;
  params.k = Tensor(k.data(), dtype_of<T>(), Device::cpu, {end - begin, kHeads, kDim});
  params.v = Tensor(v.data(), dtype_of<T>(), Device::cpu, {end - begin, kHeads, kDim});
  params.gate = Tensor(gate.data(), DType::f32, Device::cpu, {end - begin});
  params.first_position = begin;
  params.eta = kEta.data();
  params.slow_dims = kSlow;
  params.bank = bank;
  params.rules = rules;
  params.steps = steps;
  check(params, dtype_of<T>());
  reference::landmark_absorb<T>(params);
}

// The fixed rules once more, token by token and as plainly as they can be said.
class Oracle {
 public:
  struct Slot {
    bool used = false;
    std::vector<double> k, v;
    int64_t stamp = 0;
    double merged = 0;
  };
  Oracle(int64_t exact, int64_t summary, LandmarkRules rules)
      : exact_(static_cast<size_t>(exact)), summary_(static_cast<size_t>(summary)), rules_(rules) {
    for (Slot& slot : summary_) {
      slot.k.assign(kRow, 0.0);
      slot.v.assign(kRow, 0.0);
    }
  }

  void evict(const Stream& stream, int64_t begin, int64_t end) {
    std::vector<int64_t> order;
    for (int64_t t = begin; t < end; ++t) {
      if (t < rules_.sinks) {
        exact_[static_cast<size_t>(t)] = {true, row(stream.k, t), row(stream.v, t), t, 0};
      } else {
        order.push_back(t);
      }
    }
    std::vector<double> likeness(static_cast<size_t>(end));
    for (const int64_t t : order) likeness[static_cast<size_t>(t)] = best_exact(stream, t).first;
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      const auto key = [&](int64_t t) {
        return std::make_tuple(-stream.gate[static_cast<size_t>(t)],
                               likeness[static_cast<size_t>(t)], t);
      };
      return key(a) < key(b);
    });
    for (size_t i = 0; i < order.size(); ++i) {
      if (static_cast<int64_t>(i) < rules_.exact_candidates) offer_exact(stream, order[i]);
    }
    std::sort(order.begin(), order.end());
    if (summary_.empty()) return;
    for (const int64_t t : order) offer_summary(stream, t);
  }

  std::vector<Slot> exact_, summary_;

 private:
  static std::vector<double> row(const std::vector<double>& x, int64_t t) {
    return {x.begin() + t * kRow, x.begin() + (t + 1) * kRow};
  }
  static double cosine(const double* a, const double* b, const std::vector<int32_t>& dims) {
    double ab = 0, aa = 0, bb = 0;
    for (const int32_t d : dims) {
      ab += a[d] * b[d];
      aa += a[d] * a[d];
      bb += b[d] * b[d];
    }
    return ab / std::sqrt(aa * bb);
  }
  static double mean_cosine(const std::vector<double>& a, const std::vector<double>& b,
                            const std::vector<int32_t>& dims) {
    double sum = 0;
    for (int h = 0; h < kHeads; ++h)
      sum += cosine(&a[size_t(h * kDim)], &b[size_t(h * kDim)], dims);
    return sum / kHeads;
  }
  std::pair<double, int> best_exact(const Stream& stream, int64_t t) const {
    std::vector<int32_t> all;
    for (int32_t d = 0; d < kDim; ++d) all.push_back(d);
    std::pair<double, int> best = {-1e9, -1};
    for (size_t m = 0; m < exact_.size(); ++m) {
      if (!exact_[m].used) continue;
      const double score = mean_cosine(row(stream.v, t), exact_[m].v, all);
      if (score > best.first) best = {score, static_cast<int>(m)};
    }
    return best;
  }

  void offer_exact(const Stream& stream, int64_t t) {
    if (static_cast<double>(stream.gate[static_cast<size_t>(t)]) < rules_.tau_gate) return;
    const auto [score, match] = best_exact(stream, t);
    if (match >= 0 && score >= rules_.tau_novel) {
      Slot& slot = exact_[static_cast<size_t>(match)];
      slot.stamp = std::max(slot.stamp, t);
      return;
    }
    Slot* target = nullptr;
    for (size_t m = static_cast<size_t>(rules_.sinks); m < exact_.size(); ++m) {
      Slot& slot = exact_[m];
      if (!slot.used) {
        target = &slot;
        break;
      }
      if (target == nullptr || slot.stamp < target->stamp) target = &slot;
    }
    if (target != nullptr) *target = {true, row(stream.k, t), row(stream.v, t), t, 0};
  }

  void offer_summary(const Stream& stream, int64_t t) {
    const double gate = static_cast<double>(stream.gate[static_cast<size_t>(t)]);
    if (gate < rules_.tau_summary) return;
    Slot* best = nullptr;
    Slot* free = nullptr;
    double best_score = 0;
    for (Slot& slot : summary_) {
      if (!slot.used) {
        if (free == nullptr) free = &slot;
        continue;
      }
      const double score = mean_cosine(row(stream.k, t), slot.k, kSlow);
      if (best == nullptr || score > best_score) {
        best = &slot;
        best_score = score;
      }
    }
    const bool opens = free != nullptr && (best == nullptr || best_score < rules_.tau_merge);
    Slot& slot = opens ? *free : *best;
    slot.merged = 1 + slot.merged * (1 - (kEta[0] + kEta[1]) / 2 * gate);
    for (int h = 0; h < kHeads; ++h) {
      const double rate = opens ? 1.0 : kEta[size_t(h)] * gate;
      for (int32_t d = 0; d < kDim; ++d) {
        const auto i = static_cast<size_t>(h * kDim + d);
        const auto at = static_cast<size_t>(t * kRow) + i;
        const bool slow = std::find(kSlow.begin(), kSlow.end(), d) != kSlow.end();
        // The bank stores float.
        if (slow) {
          slot.k[i] = static_cast<float>(slot.k[i] + rate * (scale_ * stream.k[at] - slot.k[i]));
        }
        slot.v[i] = static_cast<float>(slot.v[i] + rate * (stream.v[at] - slot.v[i]));
      }
    }
    slot.used = true;
  }

  LandmarkRules rules_;
  double scale_ = rules_.energy_scale ? std::sqrt(2.0) : 1.0;
};

std::vector<double> decode(const SlotStore& store, int64_t slot, bool value) {
  std::vector<double> x(kRow);
  const Codec& codec = value ? *store.v_codec : *store.k_codec;
  const uint8_t* codes = value ? store.v_codes : store.k_codes;
  for (int h = 0; h < kHeads; ++h) {
    codec.decode(codes + (h * store.capacity + slot) * codec.code_bytes(), nullptr, 1,
                 x.data() + h * kDim);
  }
  return x;
}

void expect_slot(const Oracle::Slot& expected, const SlotStore& store, int64_t slot, bool used) {
  ASSERT_EQ(used, expected.used) << slot;
  if (!used) return;
  const std::vector<double> k = decode(store, slot, false), v = decode(store, slot, true);
  for (size_t i = 0; i < kRow; ++i) {
    ASSERT_NEAR(k[i], expected.k[i], 2e-5) << slot;
    ASSERT_NEAR(v[i], expected.v[i], 2e-5) << slot;
  }
}

struct OracleCase {
  int64_t exact, summary, block, sinks, candidates;
  double tau_merge;
};

class LandmarkOracle : public testing::TestWithParam<OracleCase> {
 protected:
  template <typename T>
  void compare() {
    const OracleCase& c = GetParam();
    LandmarkRules rules;
    rules.sinks = c.sinks;
    rules.exact_candidates = c.candidates;
    rules.tau_merge = c.tau_merge;
    rules.energy_scale = c.block == 7;
    const Stream stream = random_stream(31, 300);
    Banks banks(Codec::make({.kind = CodecKind::f32}, kDim), c.exact, c.summary);
    Oracle oracle(c.exact, c.summary, rules);
    absorb<T>(stream, 0, 300, c.block, rules, banks.bank);
    for (int64_t t = 0; t < 300; t += c.block) {
      oracle.evict(stream, t, std::min<int64_t>(300, t + c.block));
    }
    for (int64_t m = 0; m < c.exact; ++m) {
      const auto at = static_cast<size_t>(m);
      expect_slot(oracle.exact_[at], banks.bank.exact, m, banks.exact_valid[at] != 0);
      EXPECT_EQ(banks.stamps[at], oracle.exact_[at].stamp);
    }
    for (int64_t m = 0; m < c.summary; ++m) {
      const auto at = static_cast<size_t>(m);
      expect_slot(oracle.summary_[at], banks.bank.summary, m, banks.summary_valid[at] != 0);
      EXPECT_NEAR(banks.counts[at], oracle.summary_[at].merged, 1e-4);
      const float merged = std::max(1.0f, banks.counts[at]);
      EXPECT_NEAR(banks.log_weight[at], std::log(merged), 1e-6);
    }
  }
};

TEST_P(LandmarkOracle, AgreesInDouble) { compare<double>(); }
TEST_P(LandmarkOracle, AgreesInFloat) { compare<float>(); }

INSTANTIATE_TEST_SUITE_P(
    All, LandmarkOracle,
    testing::Values(OracleCase{8, 6, 16, 4, 4, 0.6}, OracleCase{5, 8, 1, 0, 1, 0.9},
                    OracleCase{6, 3, 7, 6, 7, 0.3}, OracleCase{12, 12, 64, 2, 8, 0.8},
                    OracleCase{4, 0, 10, 1, 10, 0.5}, OracleCase{0, 4, 10, 0, 10, 0.5}));

// What was written is read back through the codec, so it does not matter how the evictions were
// spread over calls, whatever the codec.
TEST(Landmark, CallsDoNotMatter) {
  const Stream stream = random_stream(32, 200);
  for (const CodecSpec& spec :
       {CodecSpec{.kind = CodecKind::f32}, CodecSpec{.kind = CodecKind::fp8},
        CodecSpec{.kind = CodecKind::int8}, CodecSpec{.kind = CodecKind::eden, .bits = 2}}) {
    for (const LandmarkRouting routing :
         {LandmarkRouting::live, LandmarkRouting::torch, LandmarkRouting::triton}) {
      LandmarkRules rules;
      rules.routing = routing;
      rules.tau_merge = 0.7;
      const std::shared_ptr<const Codec> codec = Codec::make(spec, kDim);
      Banks whole(codec, 8, 8), parts(codec, 8, 8);
      absorb<double>(stream, 0, 200, 8, rules, whole.bank);
      for (int64_t t = 0; t < 200; t += 8) absorb<double>(stream, t, t + 8, 8, rules, parts.bank);
      EXPECT_EQ(whole.codes, parts.codes);
      EXPECT_EQ(whole.scales, parts.scales);
      EXPECT_EQ(whole.stamps, parts.stamps);
      EXPECT_EQ(whole.counts, parts.counts);
    }
  }
}

TEST(Landmark, SnapshotsAreOfTheirMoment) {
  const Stream stream = random_stream(33, 64);
  const std::shared_ptr<const Codec> codec = Codec::make({.kind = CodecKind::bf16}, kDim);
  LandmarkRules rules;
  Banks all(codec, 8, 8), half(codec, 8, 8), snapshot(codec, 8, 8);
  absorb<float>(stream, 0, 32, 16, rules, half.bank);

  std::vector<float> k(stream.k.begin(), stream.k.end()), v(stream.v.begin(), stream.v.end());
  std::vector<float> gate = stream.gate;
  const std::vector<LandmarkStep> steps = {
      {0, 16, false, nullptr}, {16, 32, false, &snapshot.bank}, {32, 64, false, nullptr}};
  LandmarkParams params;
  params.k = Tensor(k.data(), DType::f32, Device::cpu, {64, kHeads, kDim});
  params.v = Tensor(v.data(), DType::f32, Device::cpu, {64, kHeads, kDim});
  params.gate = Tensor(gate.data(), DType::f32, Device::cpu, {64});
  params.eta = kEta.data();
  params.slow_dims = kSlow;
  params.bank = all.bank;
  params.rules = rules;
  params.steps = steps;
  reference::landmark_absorb<float>(params);
  EXPECT_EQ(snapshot.codes, half.codes);
  EXPECT_EQ(snapshot.exact_valid, half.exact_valid);
  EXPECT_EQ(snapshot.summary_valid, half.summary_valid);
  EXPECT_EQ(snapshot.log_weight, half.log_weight);
  EXPECT_NE(all.codes, half.codes);
}

TEST(Landmark, SnapshotsInBf16AreWholeAndRounded) {
  const Stream stream = random_stream(35, 32);
  const std::shared_ptr<const Codec> codec = Codec::make({.kind = CodecKind::bf16}, kDim);
  Banks all(codec, 8, 8), snapshot(codec, 8, 8);
  absorb<float>(stream, 0, 32, 16, LandmarkRules(), all.bank);
  std::vector<std::vector<uint8_t>> codes(2);
  SlotStore& summary = snapshot.bank.summary;
  summary.k_codec = summary.v_codec = codec.get();
  for (auto& store : codes) store.resize(static_cast<size_t>(kHeads * 8 * codec->code_bytes()));
  summary.k_codes = codes[0].data();
  summary.v_codes = codes[1].data();

  LandmarkParams params;
  params.k = Tensor(nullptr, DType::f32, Device::cpu, {0, kHeads, kDim});
  params.v = params.k;
  params.gate = Tensor(nullptr, DType::f32, Device::cpu, {0});
  params.eta = kEta.data();
  params.slow_dims = kSlow;
  params.bank = all.bank;
  const LandmarkStep step{0, 0, false, &snapshot.bank};
  params.steps = {&step, 1};
  check(params, DType::f32);
  reference::landmark_absorb<float>(params);
  const auto expect_rounded = [&](const Codec& from, const uint8_t* averages, const uint8_t* got) {
    std::vector<float> x(static_cast<size_t>(kHeads * 8 * kDim)), y(x.size());
    from.decode(averages, nullptr, kHeads * 8, x.data());
    codec->decode(got, nullptr, kHeads * 8, y.data());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], bf16_to_float(float_to_bf16(x[i])));
  };
  expect_rounded(*all.keys, all.bank.summary.k_codes, summary.k_codes);
  expect_rounded(*all.values, all.bank.summary.v_codes, summary.v_codes);
  EXPECT_EQ(snapshot.summary_valid, all.summary_valid);
}

TEST(Landmark, ChecksStrides) {
  const std::shared_ptr<const Codec> codec = Codec::make({.kind = CodecKind::bf16}, kDim);
  Banks banks(codec, 8, 8);
  LandmarkParams params;
  params.k = Tensor(nullptr, DType::f32, Device::cpu, {0, kHeads, kDim});
  params.v = params.k;
  params.gate = Tensor(nullptr, DType::f32, Device::cpu, {0});
  params.bank = banks.bank;
  params.eta = kEta.data();
  params.slow_dims = kSlow;
  check(params, DType::f32);
  params.token_stride = kDim;
  EXPECT_THROW(check(params, DType::f32), std::logic_error);
  params.head_stride = kDim - 1;
  EXPECT_THROW(check(params, DType::f32), std::logic_error);
  params.head_stride = 5 * kDim;
  check(params, DType::f32);
  EXPECT_THROW(reference::landmark_absorb<float>(params), std::logic_error);
}

TEST(BandCodec, KeepsItsCoordinates) {
  Random random(34);
  for (const CodecKind kind : {CodecKind::f32, CodecKind::bf16}) {
    const auto codec = make_band_codec(kind, kDim, kSlow);
    EXPECT_EQ(codec->code_bytes(), 8 * (kind == CodecKind::f32 ? 4 : 2));
    EXPECT_EQ(codec->scale_bytes(), 0);
    EXPECT_FALSE(codec->rotates());
    std::vector<float> x(3 * kDim), y(x.size());
    for (float& value : x) value = static_cast<float>(random.normal());
    std::vector<uint8_t> codes(static_cast<size_t>(3 * codec->code_bytes()));
    codec->encode({}, x.data(), 3, codes.data(), nullptr);
    codec->decode(codes.data(), nullptr, 3, y.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const bool kept = std::find(kSlow.begin(), kSlow.end(), int32_t(i % kDim)) != kSlow.end();
      const float stored = kind == CodecKind::f32 ? x[i] : bf16_to_float(float_to_bf16(x[i]));
      EXPECT_EQ(y[i], kept ? stored : 0.0f);
    }
  }
}

}  // namespace
}  // namespace kvg
