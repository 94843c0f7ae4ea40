// Arms against the code that trains them (scripts/golden/coda_arms.py): the same logits after every
// token, and the same tokens and averages in the banks, in prefill and in decode.

#include "model/cache/landmark_test_tools.h"
#include "model/decode_batch.h"
#include "model/formats/safetensors.h"
#include "model/session.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

namespace kvg {
namespace {

using Values = std::vector<double>;

constexpr double kTolerance = 1e-4;  // largest |difference|: of logits up to 17, K and V up to 6

const std::filesystem::path kFolder =
    std::filesystem::path(KVG_SOURCE_DIR) / "model/golden/coda-arms";

// One case: what PyTorch computed.
class Expected {
 public:
  explicit Expected(const std::string& name) : file_(kFolder / (name + ".safetensors")) {}

  std::string checkpoint() const { return (kFolder / file_.metadata().at("checkpoint")).string(); }
  std::string method() const { return file_.metadata().at("method"); }
  Values values(const std::string& name) const {
    if (!file_.has(name)) return {};  // no rows
    const Tensor tensor = file_.tensor(name);
    const auto* x = tensor.as<float>();
    return {x, x + tensor.elements()};
  }
  std::vector<int32_t> integers(const std::string& name) const {
    if (!file_.has(name)) return {};
    const Tensor tensor = file_.tensor(name);
    const auto* x = tensor.as<int32_t>();
    return {x, x + tensor.elements()};
  }

 private:
  SafetensorsFile file_;
};

Values on_host(const Tensor& x) {
  if (x.dtype == DType::f64) return {x.as<double>(), x.as<double>() + x.elements()};
  return {x.as<float>(), x.as<float>() + x.elements()};
}

double difference(std::span<const double> a, std::span<const double> b) {
  KVG_CHECK(a.size() == b.size(), "as many values");
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

// One sequence of an arm under its method, and the logits after each token so far.
class Arm {
 public:
  Arm(const Expected& expected, Ops& ops)
      : ops_(ops),
        tokens_(expected.integers("tokens")),
        weights_(Weights::load(*Checkpoint::open(expected.checkpoint()), ops)),
        policy_(make_policy(Method::parse(expected.method()))),
        forward_(weights_, *policy_, ops, std::ssize(tokens_)) {
    const CacheGeometry geometry = cache_geometry(weights_.config);
    for (int layer = 0; layer < geometry.layers; ++layer) {
      state_.layers.push_back(policy_->make_layer(ops, geometry, layer, std::ssize(tokens_)));
      state_.layers.back()->keep_positions();
    }
  }

  // The next tokens in one call.
  void prefill(int64_t n) {
    const auto begin = static_cast<size_t>(state_.length);
    const SequenceInput input{&state_, std::span(tokens_).subspan(begin, static_cast<size_t>(n))};
    const Tensor hidden = forward_.run({&input, 1});
    for (int64_t i = 0; i < n; ++i) keep(forward_.logits(hidden, i, 1));
  }

  // The other tokens by decode steps, as a generation that says them goes through.
  void decode() {
    const std::span<const int32_t> rest =
        std::span(tokens_).subspan(static_cast<size_t>(state_.length));
    DecodeBatch batch(weights_, *policy_, ops_, {&state_}, rest.first(1), std::ssize(rest));
    for (size_t i = 0; i < rest.size(); ++i) {
      if (i > 0) batch.force(rest.subspan(i, 1));
      batch.step();
      keep(batch.logits());
    }
    batch.finish();
  }

  int64_t left() const { return std::ssize(tokens_) - state_.length; }
  const Values& logits() const { return logits_; }
  size_t layers() const { return state_.layers.size(); }
  // Null: the method has no such banks.
  LandmarkLayer* landmark(size_t layer) const {
    return dynamic_cast<LandmarkLayer*>(state_.layers[layer].get());
  }
  landmark_test::Geometry geometry() const {
    const ModelConfig& c = weights_.config;
    return {c.heads, c.kv_heads, c.head_dim, c.streams()};
  }

 private:
  void keep(const Tensor& row) {
    const Values values = on_host(row);
    logits_.insert(logits_.end(), values.begin(), values.end());
  }

  Ops& ops_;
  std::vector<int32_t> tokens_;
  Weights weights_;
  std::unique_ptr<Policy> policy_;
  Forward forward_;
  SequenceState state_;
  Values logits_;
};

// The slots in use, and what they hold: [slots in use, kv_heads, head_dim].
struct Bank {
  std::vector<int32_t> slots;
  Values k, v;
};

Bank used_slots(Ops& ops, const SlotStore& store, const uint8_t* valid,
                const landmark_test::Geometry& g) {
  Bank bank;
  const auto [k, v] = landmark_test::slots(ops, store, g);
  const int64_t width = int64_t{g.kv_heads} * g.head_dim;
  for (int64_t m = 0; m < store.capacity; ++m) {
    if (valid[m] == 0) continue;
    bank.slots.push_back(static_cast<int32_t>(m));
    bank.k.insert(bank.k.end(), k.begin() + m * width, k.begin() + (m + 1) * width);
    bank.v.insert(bank.v.end(), v.begin() + m * width, v.begin() + (m + 1) * width);
  }
  return bank;
}

// Where a slot is does not matter: each expected token is found once, under its position.
void expect_exact(const Bank& bank, const int64_t* positions, const Expected& expected,
                  const std::string& layer) {
  const std::vector<int32_t> tokens = expected.integers(layer + "exact_positions");
  const Values k = expected.values(layer + "exact_k"), v = expected.values(layer + "exact_v");
  ASSERT_EQ(bank.slots.size(), tokens.size());
  if (tokens.empty()) return;
  const size_t width = k.size() / tokens.size();
  const auto row = [&](const Values& x, size_t i) {
    return std::span(x).subspan(i * width, width);
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto at = std::find_if(bank.slots.begin(), bank.slots.end(),
                                 [&](int32_t slot) { return positions[slot] == tokens[i]; });
    ASSERT_TRUE(at != bank.slots.end()) << layer << "token " << tokens[i] << " is not kept";
    const auto slot = static_cast<size_t>(at - bank.slots.begin());
    EXPECT_LT(difference(row(bank.k, slot), row(k, i)), kTolerance) << layer << "K " << tokens[i];
    EXPECT_LT(difference(row(bank.v, slot), row(v, i)), kTolerance) << layer << "V " << tokens[i];
  }
}

void expect_summary(const Bank& bank, const Expected& expected, const std::string& layer) {
  ASSERT_EQ(bank.slots, expected.integers(layer + "summary_slots")) << layer;
  EXPECT_LT(difference(bank.k, expected.values(layer + "summary_k")), kTolerance) << layer;
  EXPECT_LT(difference(bank.v, expected.values(layer + "summary_v")), kTolerance) << layer;
}

class CodaArms : public testing::TestWithParam<std::tuple<std::string, bool>> {
 protected:
  CodaArms()
      : ops_(std::get<1>(GetParam()) ? make_reference_ops() : make_cpu_ops(2)),
        expected_(std::get<0>(GetParam())),
        arm_(expected_, *ops_) {}

  void expect_as_trained() {
    const Values logits = expected_.values("logits");
    const size_t vocab = logits.size() / expected_.integers("tokens").size();
    ASSERT_EQ(arm_.logits().size(), logits.size());
    for (size_t i = 0; i < logits.size(); i += vocab) {
      ASSERT_LT(difference(std::span(arm_.logits()).subspan(i, vocab),
                           std::span(logits).subspan(i, vocab)),
                kTolerance)
          << "after token " << i / vocab;
    }
    for (size_t l = 0; l < arm_.layers(); ++l) {
      LandmarkLayer* layer = arm_.landmark(l);
      if (layer == nullptr) continue;
      const LandmarkBank& bank = layer->banks().bank();
      const std::string name = std::to_string(l) + ".";
      const landmark_test::Geometry g = arm_.geometry();
      expect_exact(used_slots(*ops_, bank.exact, bank.exact_valid, g), bank.positions, expected_,
                   name);
      expect_summary(used_slots(*ops_, bank.summary, bank.summary_valid, g), expected_, name);
    }
  }

  std::unique_ptr<Ops> ops_;
  Expected expected_;
  Arm arm_;
};

TEST_P(CodaArms, PrefillInOneCall) {
  arm_.prefill(arm_.left());
  expect_as_trained();
}

// Arms whose method does not depend on how the tokens were cut.
using CodaArmsInPieces = CodaArms;

TEST_P(CodaArmsInPieces, PrefillInOddCalls) {
  for (int64_t n = 5; arm_.left() > 0; n = n % 23 + 6) arm_.prefill(std::min(n, arm_.left()));
  expect_as_trained();
}

TEST_P(CodaArmsInPieces, DecodeSteps) {
  arm_.prefill(1);
  arm_.decode();
  expect_as_trained();
}

TEST_P(CodaArmsInPieces, DecodeStepsAfterAPrompt) {
  arm_.prefill(arm_.left() / 2 - 1);
  arm_.decode();
  expect_as_trained();
}

const std::vector<std::string> kAnyPieces = {
    "gqa-full",
    "gqa-bounded-landmark",
    "coda-full",
    "coda-window",
    "coda-sinks",
    "coda-added-full",
    "coda-bounded-landmark",
    "coda-bounded-whole-keys",
    "coda-bounded-no-counts",
    "coda-bounded-exact-only",
    "coda-bounded-summary-only",
    "coda-bounded-block-of-8",
};

// The published rules count blocks from the start of a call and decide otherwise in decode, which
// landmark_golden_test.cpp holds against the published package. Training has the rules of one call.
const std::vector<std::string> kOneCall = {"gqa-bounded-published", "coda-bounded-published"};

std::string name_of(const testing::TestParamInfo<CodaArms::ParamType>& suite) {
  std::string name = std::get<0>(suite.param) + (std::get<1>(suite.param) ? "-reference" : "-cpu");
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Fixed, CodaArms,
                         testing::Combine(testing::ValuesIn(kAnyPieces), testing::Bool()), name_of);
INSTANTIATE_TEST_SUITE_P(Published, CodaArms,
                         testing::Combine(testing::ValuesIn(kOneCall), testing::Bool()), name_of);
INSTANTIATE_TEST_SUITE_P(Fixed, CodaArmsInPieces,
                         testing::Combine(testing::ValuesIn(kAnyPieces), testing::Bool()), name_of);

// No case stands for another: each differs from every other by far more than the tolerance.
TEST(CodaArmsCases, DifferFromEachOther) {
  std::vector<std::string> names = kAnyPieces;
  names.insert(names.end(), kOneCall.begin(), kOneCall.end());
  for (const std::string& a : names) {
    for (const std::string& b : names) {
      if (a == b) continue;
      EXPECT_GT(difference(Expected(a).values("logits"), Expected(b).values("logits")), 0.1)
          << a << " and " << b;
    }
  }
}

// Golden files without a test would be checked by nobody.
TEST(CodaArmsCases, EveryFileIsTested) {
  std::set<std::string> tested(kAnyPieces.begin(), kAnyPieces.end());
  tested.insert(kOneCall.begin(), kOneCall.end());
  std::set<std::string> there;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder)) {
    if (entry.is_regular_file()) there.insert(entry.path().stem().string());
  }
  EXPECT_EQ(there, tested);
}

}  // namespace
}  // namespace kvg
