#include "base/statistics.h"

#include "base/random.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

double binomial(int n, int k, double p) {
  return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) +
                  k * std::log(p) + (n - k) * std::log1p(-p));
}

TEST(Distributions, NormalQuantileMatchesTables) {
  EXPECT_NEAR(normal_quantile(0.975), 1.959963984540054, 1e-12);
  EXPECT_NEAR(normal_quantile(0.95), 1.6448536269514722, 1e-12);
  EXPECT_NEAR(normal_quantile(1e-9), -5.997807015008182, 1e-9);
  for (const double p : {0.001, 0.2, 0.5, 0.77, 0.9999}) {
    EXPECT_NEAR(normal_cdf(normal_quantile(p)), p, 1e-14);
  }
}

TEST(Distributions, BetaIsTheBinomialTail) {
  // P(Binomial(n, p) >= k) = I_p(k, n - k + 1), summed term by term.
  for (const int n : {1, 7, 40, 300}) {
    for (const int k : {1, n / 2 + 1, n}) {
      for (const double p : {0.01, 0.37, 0.93}) {
        double tail = 0;
        for (int i = k; i <= n; ++i) tail += binomial(n, i, p);
        EXPECT_NEAR(beta_cdf(p, k, n - k + 1), tail, 1e-11) << n << " " << k << " " << p;
      }
    }
  }
  EXPECT_NEAR(beta_cdf(beta_quantile(0.123, 3.5, 0.7), 3.5, 0.7), 0.123, 1e-12);
}

TEST(Proportions, WilsonMatchesPublishedRows) {
  const auto percent = [](Interval x) {
    return std::pair(std::round(1000 * x.low) / 10, std::round(1000 * x.high) / 10);
  };
  EXPECT_EQ(percent(wilson(20, 20)), std::pair(83.9, 100.0));
  EXPECT_EQ(percent(wilson(160, 200)), std::pair(73.9, 85.0));
  EXPECT_EQ(percent(wilson(400, 500)), std::pair(76.3, 83.3));
  EXPECT_NEAR(wilson(100, 100).low, 0.963, 5e-4);
  EXPECT_NEAR(wilson(500, 500).low, 0.992, 5e-4);
  EXPECT_NEAR(wilson(40, 50).low, 0.67, 5e-3);
  EXPECT_NEAR(wilson(40, 50).high, 0.89, 5e-3);
  EXPECT_NEAR(wilson(800, 1000).low, 0.774, 5e-4);
}

TEST(Proportions, ClopperPearsonInvertsTheExactTails) {
  for (const auto& [k, n] : {std::pair(0, 100), {100, 100}, {3, 17}, {9, 10}}) {
    const Interval exact = clopper_pearson(k, n);
    double below = 0, above = 0;
    for (int i = 0; i <= k; ++i) below += binomial(n, i, std::min(exact.high, 1 - 1e-15));
    for (int i = k; i <= n; ++i) above += binomial(n, i, std::max(exact.low, 1e-300));
    if (k < n) {
      EXPECT_NEAR(below, 0.025, 1e-9);
    }
    if (k > 0) {
      EXPECT_NEAR(above, 0.025, 1e-9);
    }
  }
  // 0 of n in closed form: 1 - (alpha / 2)^(1 / n); one-sided 95 % is the rule of three.
  EXPECT_NEAR(clopper_pearson(0, 100).high, 1 - std::pow(0.025, 0.01), 1e-12);
  EXPECT_NEAR(clopper_pearson(0, 100, 0.90).high, 0.0295, 5e-4);
  EXPECT_EQ(clopper_pearson(0, 100).low, 0);
  EXPECT_EQ(clopper_pearson(5, 5).high, 1);
}

TEST(Proportions, HouseRuleSwitchesAtTheEnds) {
  EXPECT_EQ(proportion_interval(0, 30).high, clopper_pearson(0, 30).high);
  EXPECT_EQ(proportion_interval(30, 30).low, clopper_pearson(30, 30).low);
  EXPECT_EQ(proportion_interval(29, 30).low, wilson(29, 30).low);
}

TEST(Bootstrap, IsDeterministicInTheSeed) {
  const std::vector<double> values = {1, 2, 4, 8, 16, 32};
  const Estimate first = bootstrap_mean(values, {.seed = 3});
  const Estimate again = bootstrap_mean(values, {.seed = 3});
  const Estimate other = bootstrap_mean(values, {.seed = 4});
  EXPECT_EQ(first.interval.low, again.interval.low);
  EXPECT_EQ(first.interval.high, again.interval.high);
  EXPECT_NE(first.interval.high, other.interval.high);
  EXPECT_DOUBLE_EQ(first.value, 10.5);
  EXPECT_EQ(first.units, 6);
}

TEST(Bootstrap, PercentileIntervalOfAMeanIsTheNormalOneWhenValuesAreSymmetric) {
  Random random(11);
  std::vector<double> values(400);
  for (double& x : values) x = 5 + 2 * random.normal();
  double mean = 0, variance = 0;
  for (const double x : values) mean += x / 400;
  for (const double x : values) variance += (x - mean) * (x - mean) / 400;
  const double half = 1.959964 * std::sqrt(variance / 400);
  const Estimate estimate = bootstrap_mean(values, {.bca = false});
  EXPECT_NEAR(estimate.interval.low, mean - half, 0.03 * half * 2);
  EXPECT_NEAR(estimate.interval.high, mean + half, 0.03 * half * 2);
}

// Second-order theory (Hall 1988): the BCa end point of a mean is
// mean + s/sqrt(n) (z + skewness / (6 sqrt(n)) (2 z^2 + 1)).
TEST(Bootstrap, BcaCorrectsForSkewness) {
  Random random(12);
  const double n = 120;
  std::vector<double> values(static_cast<size_t>(n));
  for (double& x : values) x = -std::log(1 - random.uniform());
  double mean = 0, variance = 0, third = 0;
  for (const double x : values) mean += x / n;
  for (const double x : values) {
    variance += std::pow(x - mean, 2) / n;
    third += std::pow(x - mean, 3) / n;
  }
  const double se = std::sqrt(variance / n);
  const double shift =
      third / std::pow(variance, 1.5) / (6 * std::sqrt(n)) * (2 * 1.959964 * 1.959964 + 1);
  const Estimate bca = bootstrap_mean(values, {.resamples = 40000});
  const Estimate plain = bootstrap_mean(values, {.resamples = 40000, .bca = false});
  EXPECT_NEAR(bca.interval.low, mean + se * (-1.959964 + shift), 0.08 * se);
  EXPECT_NEAR(bca.interval.high, mean + se * (1.959964 + shift), 0.08 * se);
  EXPECT_GT(bca.interval.high, plain.interval.high + 0.1 * se);
}

TEST(Bootstrap, ClustersWidenTheInterval) {
  // 40 clusters of 10 identical scores: the item-wise interval is sqrt(10) too narrow.
  Random random(13);
  std::vector<double> items;
  std::vector<BootstrapUnit> clusters;
  for (int c = 0; c < 40; ++c) {
    const double score = random.normal();
    clusters.push_back({10 * score, 10});
    items.insert(items.end(), 10, score);
  }
  const Estimate by_item = bootstrap_mean(items);
  const Estimate by_cluster = bootstrap(clusters);
  const double narrow = by_item.interval.high - by_item.interval.low;
  const double wide = by_cluster.interval.high - by_cluster.interval.low;
  EXPECT_DOUBLE_EQ(by_item.value, by_cluster.value);
  EXPECT_NEAR(wide / narrow, std::sqrt(10.0), 0.2);
}

TEST(Bootstrap, WeighsUnitsByTheirSize) {
  const std::vector<BootstrapUnit> blocks = {{10, 5}, {3, 1}};
  EXPECT_DOUBLE_EQ(bootstrap(blocks).value, 13.0 / 6.0);
  EXPECT_DOUBLE_EQ(ratio(blocks), 13.0 / 6.0);
}

TEST(Bootstrap, ConstantValuesGiveNoWidth) {
  const std::vector<double> same(10, 0.25);
  EXPECT_EQ(bootstrap_mean(same).interval.low, 0.25);
  EXPECT_EQ(bootstrap_mean(same).interval.high, 0.25);
  EXPECT_EQ(bootstrap_mean(std::vector<double>{7}).interval.high, 7);
}

TEST(Bootstrap, PairingRemovesSharedVariance) {
  Random random(14);
  std::vector<double> a(200), b(200);
  for (size_t i = 0; i < a.size(); ++i) {
    b[i] = 10 * random.normal();
    a[i] = b[i] + 0.5 + 0.1 * random.normal();
  }
  const Estimate difference = paired_difference(a, b);
  EXPECT_GT(difference.interval.low, 0.47);
  EXPECT_LT(difference.interval.high, 0.53);
}

TEST(Bootstrap, MedianIgnoresAnOutlier) {
  const std::vector<double> runs = {1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 50};
  const Estimate median = bootstrap_median(runs);
  EXPECT_DOUBLE_EQ(median.value, 1.02);
  EXPECT_LT(median.interval.high, 50);
}

TEST(Student, MatchesTheTables) {
  // t(0.975) is 12.706 for 1 degree of freedom, 4.3027 for 2, 2.2622 for 9.
  EXPECT_NEAR(student_interval(std::vector<double>{-1, 1}).high, 12.7062, 1e-3);
  const Interval three = student_interval(std::vector<double>{1, 2, 3});
  EXPECT_NEAR(three.high - 2, 4.30265 / std::sqrt(3), 1e-4);
  EXPECT_NEAR(three.low + three.high, 4, 1e-12);
  std::vector<double> ten(10, 5.0);
  ten[0] = 6;
  const double deviation = standard_deviation(ten);
  EXPECT_NEAR(deviation, std::sqrt(0.1), 1e-12);
  EXPECT_NEAR(student_interval(ten).high - 5.1, 2.26216 * deviation / std::sqrt(10), 1e-4);
  const Interval equal = student_interval(std::vector<double>{2, 2, 2});
  EXPECT_EQ(equal.low, 2);
  EXPECT_EQ(equal.high, 2);
}

TEST(McNemar, IsTheExactBinomialTest) {
  EXPECT_EQ(mcnemar_exact(0, 0), 1);
  EXPECT_EQ(mcnemar_exact(5, 5), 1);
  EXPECT_NEAR(mcnemar_exact(0, 10), 2 * std::pow(0.5, 10), 1e-12);
  double tail = 0;
  for (int k = 0; k <= 3; ++k) tail += binomial(20, k, 0.5);
  EXPECT_NEAR(mcnemar_exact(3, 17), 2 * tail, 1e-12);
  EXPECT_EQ(mcnemar_exact(3, 17), mcnemar_exact(17, 3));
}

TEST(Holm, StepsDownAndKeepsTheOrder) {
  const std::vector<double> adjusted = holm(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  EXPECT_THAT(adjusted, testing::Pointwise(testing::DoubleNear(1e-12), {0.03, 0.06, 0.06, 0.02}));
  EXPECT_THAT(holm(std::vector<double>{0.9, 0.8}), testing::ElementsAre(1, 1));
  EXPECT_TRUE(holm({}).empty());
}

TEST(Verdict, FollowsTheInterval) {
  EXPECT_EQ(equivalence_verdict({-0.005, 0.004}, 0.01, true), Verdict::kSame);
  EXPECT_EQ(equivalence_verdict({0.001, 0.004}, 0.01, true), Verdict::kSame);
  EXPECT_EQ(equivalence_verdict({0.001, 0.02}, 0.01, true), Verdict::kBetter);
  EXPECT_EQ(equivalence_verdict({0.001, 0.02}, 0.01, false), Verdict::kWorse);
  EXPECT_EQ(equivalence_verdict({-0.2, -0.02}, 0.01, true), Verdict::kWorse);
  EXPECT_EQ(equivalence_verdict({-0.2, 0.1}, 0.01, true), Verdict::kInconclusive);
  EXPECT_EQ(to_string(Verdict::kInconclusive), "INCONCLUSIVE");
}

// The same items against themselves in random halves must hardly ever look different.
TEST(Verdict, SelfComparisonIsRarelySignificant) {
  Random random(15);
  int significant = 0;
  for (int split = 0; split < 100; ++split) {
    std::vector<double> difference(60);
    for (double& x : difference) x = static_cast<double>(random.below(3)) - 1.0;
    const Estimate e = bootstrap_mean(difference, {.resamples = 1000, .seed = random.next_u64()});
    significant += e.interval.low > 0 || e.interval.high < 0 ? 1 : 0;
  }
  EXPECT_LE(significant, 12);  // 5 expected
}

}  // namespace
}  // namespace kvg
