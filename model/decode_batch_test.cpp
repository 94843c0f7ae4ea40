#include "model/decode_batch.h"

#include "base/random.h"
#include "model/checkpoint.h"
#include "model/gates.h"
#include "model/session.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <set>
#include <span>
#include <stdexcept>

#include <gtest/gtest.h>

namespace kvg {
namespace {

struct Model {
  explicit Model(std::unique_ptr<Ops> set)
      : ops(std::move(set)),
        weights(Weights::load(
            *Checkpoint::open(KVG_SOURCE_DIR "/model/formats/golden/mistral-tied-bf16"), *ops)) {}

  std::vector<int32_t> random_tokens(int64_t n, uint64_t seed) const {
    Random random(seed);
    std::vector<int32_t> tokens;
    while (std::ssize(tokens) < n) {
      tokens.push_back(
          static_cast<int32_t>(random.below(static_cast<uint64_t>(weights.config.vocab))));
    }
    return tokens;
  }

  std::unique_ptr<Ops> ops;
  Weights weights;
};

// Sequences of one method, each prefilled with a prompt of its own.
struct Prefilled {
  Prefilled(const Model& model_, const std::string& text, std::span<const int64_t> lengths)
      : model(model_),
        policy(make_policy(Method::parse(text))),
        forward(model.weights, *policy, *model.ops, 128) {
    const CacheGeometry geometry = cache_geometry(model.weights.config);
    states.resize(lengths.size());
    for (size_t i = 0; i < lengths.size(); ++i) {
      for (int layer = 0; layer < geometry.layers; ++layer) {
        states[i].layers.push_back(policy->make_layer(*model.ops, geometry, layer, 256));
      }
      prompts.push_back(model.random_tokens(lengths[i], i));
      logits = append(i, prompts.back());
    }
  }

  // The logits after the last of `tokens`.
  std::vector<double> append(size_t sequence, std::span<const int32_t> tokens) {
    const SequenceInput input{&states[sequence], tokens};
    const Tensor hidden = forward.run({&input, 1});
    return to_host(forward.logits(hidden, std::ssize(tokens) - 1, 1));
  }

  static std::vector<double> to_host(const Tensor& row) {
    const double* values = row.as<double>();
    return {values, values + row.elements()};
  }

  std::vector<SequenceState*> pointers() {
    std::vector<SequenceState*> result;
    for (SequenceState& state : states) result.push_back(&state);
    return result;
  }

  const Model& model;
  std::unique_ptr<Policy> policy;
  Forward forward;
  std::vector<SequenceState> states;
  std::vector<std::vector<int32_t>> prompts;
  std::vector<double> logits;  // of the last sequence
};

int32_t largest(std::span<const double> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

constexpr std::array<int64_t, 3> kLengths = {5, 40, 77};
constexpr int64_t kSteps = 21;
const std::vector<int32_t> kFirst = {3, 4, 5};

class DecodeBatchTest : public testing::TestWithParam<std::string> {};

// What each sequence writes by appending its own choices one by one is what the batch writes; and
// the states it leaves go on alike.
TEST_P(DecodeBatchTest, EqualsAppendingOneByOne) {
  const Model model(make_reference_ops());
  Prefilled batched(model, GetParam(), kLengths);
  Prefilled alone(model, GetParam(), kLengths);
  DecodeBatch batch(model.weights, *batched.policy, *model.ops, batched.pointers(), kFirst, kSteps);
  std::vector<std::vector<int32_t>> newest;
  for (int64_t step = 0; step < kSteps; ++step) {
    batch.step();
    newest.push_back(batch.newest());
    if (step == 10) batch.finish();  // may be asked for in between
  }
  batch.finish();
  EXPECT_EQ(batch.steps(), kSteps);
  const std::vector<std::vector<int32_t>> texts = batch.tokens();
  ASSERT_EQ(texts.size(), kLengths.size());
  for (size_t s = 0; s < kLengths.size(); ++s) {
    ASSERT_EQ(std::ssize(texts[s]), kSteps);
    int32_t token = kFirst[s];
    for (size_t step = 0; step < texts[s].size(); ++step) {
      const std::vector<double> logits = alone.append(s, {&token, 1});
      token = largest(logits);
      ASSERT_EQ(texts[s][step], token) << "sequence " << s << " step " << step;
      EXPECT_EQ(newest[step][s], token);
      if (step + 1 < texts[s].size()) continue;
      const auto last = Prefilled::to_host(batch.logits().rows(static_cast<int64_t>(s), 1));
      for (size_t i = 0; i < last.size(); ++i) EXPECT_NEAR(last[i], logits[i], 1e-11);
    }
    EXPECT_EQ(batched.states[s].length, kLengths[s] + kSteps);
    const std::vector<int32_t> more = model.random_tokens(30, 9);
    const std::vector<double> a = batched.append(s, more);
    const std::vector<double> b = alone.append(s, more);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-11);
  }
}

// Scoring by decode steps, in pieces, against scoring by prefill.
TEST_P(DecodeBatchTest, ForcedTokensScoreAsInPrefill) {
  const Model model(make_reference_ops());
  const Session session(model.weights, *model.ops, Method::parse(GetParam()), {32, 128});
  const std::vector<int32_t> text = model.random_tokens(90, 5);
  const std::span<const int32_t> scored = std::span(text).subspan(1);
  const auto by_prefill = session.start();
  const auto by_decode = session.start();
  by_prefill->append({text.data(), 1});
  by_decode->append({text.data(), 1});
  const std::vector<double> expected = by_prefill->score(scored);
  std::vector<double> nll = by_decode->score_decoding(scored.first(40));
  const std::vector<double> rest = by_decode->score_decoding(scored.subspan(40));
  nll.insert(nll.end(), rest.begin(), rest.end());
  ASSERT_EQ(nll.size(), expected.size());
  EXPECT_EQ(by_decode->length(), 90);
  double largest = 0;
  for (size_t i = 0; i < nll.size(); ++i) {
    largest = std::max(largest, std::abs(nll[i] - expected[i]));
  }
  if (GetParam().find("reference") != std::string::npos) {
    EXPECT_GT(largest, 1e-3) << "the published rules differ in prefill and decode";
  } else {
    EXPECT_LT(largest, 1e-9);
  }
  const std::vector<int32_t> more = model.random_tokens(9, 6);
  EXPECT_EQ(by_decode->score(more).size(), 9u) << "the sequence goes on";
}

std::vector<std::string> methods() {
  std::vector<std::string> methods = gate_methods();
  methods.push_back("landmark(semantics=reference,window=24,exact=8,summary=8)+f32");
  methods.push_back("landmark(window=20,exact=4,summary=4,block=5)+window:eden(bits=4)+bank:fp8");
  methods.push_back("landmark(window=20,exact=4,summary=4,block=5)+window:int8+bank:eden(bits=4)");
  methods.push_back("random(window=7,bank=9,block=3)+window:f32+bank:eden(bits=3)");
  methods.push_back("sinks(sinks=60,window=9)+f32");
  return methods;
}

INSTANTIATE_TEST_SUITE_P(Methods, DecodeBatchTest, testing::ValuesIn(methods()));

TEST(DecodeBatch, SampledStepsAreThoseOfTheSession) {
  const Model model(make_cpu_ops(1));
  const Session session(model.weights, *model.ops, Method::parse("window(window=20)"), {64, 128});
  const std::vector<int32_t> prompt = model.random_tokens(33, 2);
  GenerateOptions options;
  options.max_tokens = 24;
  options.stop_at_eos = false;
  options.sampling = {0.9, 0.95, 11};
  const auto sequence = session.start();
  sequence->append(prompt);
  // The token of a position depends on the seed and the position alone, so one token at a time
  // gives the same text.
  std::vector<int32_t> one_by_one;
  while (std::ssize(one_by_one) < options.max_tokens) {
    GenerateOptions one = options;
    one.max_tokens = 1;
    one_by_one.push_back(sequence->generate(one)[0]);
    sequence->append({&one_by_one.back(), 1});
  }
  EXPECT_EQ(session.generate_batch({prompt}, options)[0], one_by_one);
  EXPECT_GT(std::set<int32_t>(one_by_one.begin(), one_by_one.end()).size(), 5u);
}

TEST(DecodeBatch, WithoutEvictionTheBanksStay) {
  const Model model(make_reference_ops());
  const auto used = [&](bool evict) {
    Prefilled sequences(model, "landmark(window=16,exact=8,summary=8,block=4)+f32", {{20}});
    DecodeOptions options;
    options.evict = evict;
    DecodeBatch batch(model.weights, *sequences.policy, *model.ops, sequences.pointers(), {{3}}, 24,
                      options);
    for (int step = 0; step < 24; ++step) batch.step();
    const LandmarkBank bank = sequences.states[0].layers[0]->decode_cache(*model.ops, 64).landmark;
    return std::accumulate(bank.stamps, bank.stamps + 8, int64_t{0});
  };
  EXPECT_GT(used(true), used(false));
}

TEST(DecodeBatch, SaysWhatIsWrong) {
  Model model(make_reference_ops());
  Prefilled sequences(model, "full+f32", {{6}});
  DecodeBatch batch(model.weights, *sequences.policy, *model.ops, sequences.pointers(), {{3}}, 2);
  batch.step();
  double* head = model.weights.head.as<double>();
  std::fill(head, head + model.weights.head.elements(), std::numeric_limits<double>::quiet_NaN());
  batch.step();
  EXPECT_THROW((void)batch.newest(), Error);
  EXPECT_THROW((void)batch.tokens(), Error);
  EXPECT_THROW(batch.step(), std::logic_error);
}

}  // namespace
}  // namespace kvg
