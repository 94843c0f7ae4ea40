#include "model/sampling.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace kvg {
namespace {

TEST(Sampling, GreedyTakesTheFirstLargest) {
  const std::array<float, 4> logits = {0.0f, 2.0f, 2.0f, -1.0f};
  EXPECT_EQ(sample_token(logits, {}, 0), 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::array<float, 3> some_nan = {nan, -5.0f, nan};
  EXPECT_EQ(sample_token(some_nan, {}, 0), 1);
  const std::array<float, 2> all_nan = {nan, nan};
  EXPECT_THROW(sample_token(all_nan, {}, 0), Error);
}

TEST(Sampling, FrequenciesFollowTheSoftmax) {
  const std::array<float, 3> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  constexpr int n = 20000;
  std::array<int, 3> counts{};
  for (int i = 0; i < n; ++i) ++counts[static_cast<size_t>(sample_token(logits, {1.0, 1.0, 5}, i))];
  const std::array<double, 3> expected = {0.5, 0.3, 0.2};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(counts[i] / double{n}, expected[i], 4 * std::sqrt(0.25 / n));
  }
}

TEST(Sampling, TopPKeepsTheSmallestSufficientSet) {
  const std::array<float, 3> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  for (int i = 0; i < 500; ++i) {
    EXPECT_EQ(sample_token(logits, {1.0, 0.4, 5}, i), 0);
    EXPECT_NE(sample_token(logits, {1.0, 0.75, 5}, i), 2);
  }
}

TEST(Sampling, SameSeedAndPositionSameToken) {
  std::vector<float> logits(100);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(sample_token(logits, {0.8, 0.9, 1}, i), sample_token(logits, {0.8, 0.9, 1}, i));
  }
}

}  // namespace
}  // namespace kvg
