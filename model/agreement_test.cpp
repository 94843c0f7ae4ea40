#include "model/agreement.h"

#include "base/random.h"
#include "model/checkpoint.h"

#include <array>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace kvg {
namespace {

TEST(KlDivergence, IsThatOfTheSoftmaxes) {
  // Softmaxes (1/2, 1/2) and (3/4, 1/4), logits shifted by constants.
  const std::array<float, 2> p = {5.0f, 5.0f};
  const std::array<float, 2> q = {std::log(3.0f) - 2.0f, -2.0f};
  const double expected = 0.5 * std::log(0.5 / 0.75) + 0.5 * std::log(0.5 / 0.25);
  EXPECT_NEAR(kl_divergence(p, q), expected, 1e-6);
  EXPECT_NEAR(kl_divergence(p, p), 0, 1e-12);
  const std::array<float, 2> damaged = {0.0f, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isinf(kl_divergence(p, damaged)));
}

struct Model {
  Model(std::unique_ptr<Ops> set, uint64_t seed)
      : ops(std::move(set)),
        weights(Weights::load(*Checkpoint::open("preset:kvg-tiny-coda", seed), *ops)) {}
  ModelOnOps on() { return {&weights, ops.get()}; }
  std::unique_ptr<Ops> ops;
  Weights weights;
};

std::vector<std::vector<int32_t>> prompts_for(const ModelConfig& config) {
  Random random(4);
  std::vector<std::vector<int32_t>> prompts;
  for (const size_t length : {size_t{40}, size_t{7}, size_t{61}}) {
    prompts.emplace_back(1, config.bos);
    while (prompts.back().size() < length) {
      prompts.back().push_back(
          static_cast<int32_t>(random.below(static_cast<uint64_t>(config.vocab))));
    }
  }
  return prompts;
}

Agreement compare(Model& a, Model& b, const std::string& method) {
  const auto prompts = prompts_for(a.weights.config);
  const ModelOnOps actual = b.on();
  Agreement agreement = compare_distributions(a.on(), {&actual, 1}, method, prompts)[0];
  compare_texts(a.on(), b.on(), method, prompts, 4, &agreement);
  return agreement;
}

TEST(Agreement, OfTwoSetsOnOneModel) {
  Model a(make_reference_ops(), 3);
  Model b(make_cpu_ops(2), 3);
  const Agreement agreement = compare(a, b, "window(window=20)+f32");
  EXPECT_EQ(agreement.positions, 40 + 7 + 61);
  EXPECT_EQ(agreement.texts, 3);
  EXPECT_TRUE(agreement.differences.empty());
  EXPECT_LT(agreement.max_kl, 1e-6);
}

// It notices another model, and says how clear the first other choice was.
TEST(Agreement, NotOfDifferentModels) {
  Model a(make_cpu_ops(2), 3);
  Model b(make_cpu_ops(2), 4);
  const Agreement agreement = compare(a, b, "full");
  EXPECT_GT(agreement.mean_kl, 1e-3);
  EXPECT_GE(agreement.max_kl, agreement.mean_kl);
  ASSERT_EQ(agreement.differences.size(), 3u);
  for (const TextDifference& difference : agreement.differences) EXPECT_GT(difference.margin, 0);
}

}  // namespace
}  // namespace kvg
