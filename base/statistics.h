#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kvg {

struct Interval {
  double low = 0;
  double high = 0;
};

// Distribution functions the intervals are built on. Probabilities in (0, 1).
double normal_cdf(double z);
double normal_quantile(double p);
// Regularised incomplete beta function I_x(a, b) and its inverse in x; a, b > 0.
double beta_cdf(double x, double a, double b);
double beta_quantile(double p, double a, double b);

// Intervals of a proportion of `successes` in `n` trials, 0 <= successes <= n, n > 0.
Interval wilson(int64_t successes, int64_t n, double level = 0.95);
Interval clopper_pearson(int64_t successes, int64_t n, double level = 0.95);
// The house rule: Wilson, but Clopper-Pearson for 0/n and n/n.
Interval proportion_interval(int64_t successes, int64_t n, double level = 0.95);

// One exchangeable unit of a bootstrap: what it adds to the numerator and to the denominator of
// sum(value) / sum(weight). All means in the project are of this form:
//   an item           {score, 1}
//   a cluster         {sum of the scores of its items, number of items}   (clustered bootstrap)
//   a block of tokens {sum of NLL, tokens}                                (block bootstrap)
//   a paired unit     {value_a - value_b, weight}                         (paired difference)
struct BootstrapUnit {
  double value = 0;
  double weight = 1;
};

struct BootstrapOptions {
  int64_t resamples = 10000;
  double level = 0.95;
  uint64_t seed = 0;
  // Bias-corrected and accelerated (Efron 1987); otherwise the percentile interval.
  bool bca = true;
};

struct Estimate {
  double value = 0;
  Interval interval;
  int64_t units = 0;
};

// sum(value) / sum(weight) over the units; needs a positive total weight.
double ratio(std::span<const BootstrapUnit> units);

// The ratio with its bootstrap interval: units are resampled with replacement, in the Philox stream
// of `options.seed`. One unit, or units that all agree, give an interval of width 0.
Estimate bootstrap(std::span<const BootstrapUnit> units, const BootstrapOptions& options = {});

// Mean of values, each its own unit.
Estimate bootstrap_mean(std::span<const double> values, const BootstrapOptions& options = {});

// Median of values (percentile interval always): timings over runs.
Estimate bootstrap_median(std::span<const double> values, const BootstrapOptions& options = {});

// Mean of a[i] - b[i] over pairs; a and b have the same size.
Estimate paired_difference(std::span<const double> a, std::span<const double> b,
                           const BootstrapOptions& options = {});

// Standard deviation with n - 1; needs two values.
double standard_deviation(std::span<const double> values);

// Student's interval of the mean of independent values, e.g. of training seeds; needs two.
Interval student_interval(std::span<const double> values, double level = 0.95);

// Exact two-sided McNemar test: `only_a` items that only A got right, `only_b` that only B did. 1
// when there are none.
double mcnemar_exact(int64_t only_a, int64_t only_b);

// Holm's step-down adjustment of a family of p-values, in the order given, each at most 1.
std::vector<double> holm(std::span<const double> p_values);

enum class Verdict { kBetter, kWorse, kSame, kInconclusive };

// "BETTER", "WORSE", "SAME", "INCONCLUSIVE"
std::string_view to_string(Verdict verdict);

// Reads the interval of a difference (method - reference) against an equivalence margin >= 0: SAME
// when it lies inside [-margin, margin] (two one-sided tests), otherwise BETTER or WORSE when it
// excludes 0, otherwise INCONCLUSIVE. A 90 % interval makes the equivalence test one of level 5 %.
Verdict equivalence_verdict(const Interval& difference, double margin, bool higher_is_better);

}  // namespace kvg
