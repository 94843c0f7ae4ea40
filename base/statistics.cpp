#include "base/statistics.h"

#include "base/error.h"
#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace kvg {
namespace {

// Continued fraction of the incomplete beta function (modified Lentz), for x < (a + 1) / (a + b +
// 2).
double beta_fraction(double x, double a, double b) {
  constexpr double kTiny = 1e-300;
  double c = 1;
  double d = 1 - (a + b) * x / (a + 1);
  d = 1 / (std::abs(d) < kTiny ? kTiny : d);
  double value = d;
  for (int m = 1; m <= 10000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double step = 1;
    for (const double term : {even, odd}) {
      d = 1 + term * d;
      d = 1 / (std::abs(d) < kTiny ? kTiny : d);
      c = 1 + term / c;
      c = std::abs(c) < kTiny ? kTiny : c;
      step = c * d;
      value *= step;
    }
    if (std::abs(step - 1) < 1e-15) break;
  }
  return value;
}

// Linear interpolation between order statistics (type 7) of sorted values.
double quantile(std::span<const double> sorted, double p) {
  const double position = p * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double part = position - static_cast<double>(below);
  return sorted[below] + part * (sorted[above] - sorted[below]);
}

Interval percentile_interval(std::span<const double> sorted, double level) {
  return {quantile(sorted, (1 - level) / 2), quantile(sorted, (1 + level) / 2)};
}

// Efron's acceleration from the leave-one-out values of the ratio.
double acceleration(std::span<const BootstrapUnit> units) {
  double value = 0, weight = 0;
  for (const BootstrapUnit& unit : units) {
    value += unit.value;
    weight += unit.weight;
  }
  std::vector<double> without;
  without.reserve(units.size());
  for (const BootstrapUnit& unit : units) {
    if (weight > unit.weight) without.push_back((value - unit.value) / (weight - unit.weight));
  }
  if (without.empty()) return 0;
  const double mean =
      std::accumulate(without.begin(), without.end(), 0.0) / static_cast<double>(without.size());
  double squares = 0, cubes = 0;
  for (const double x : without) {
    const double gap = mean - x;
    squares += gap * gap;
    cubes += gap * gap * gap;
  }
  return squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0;
}

Interval bca_interval(std::span<const double> sorted, double estimate, double level,
                      double accelerate) {
  // Ties count half: discrete scores would otherwise bias the correction.
  const auto [first, last] = std::equal_range(sorted.begin(), sorted.end(), estimate);
  const double below =
      static_cast<double>(first - sorted.begin()) + 0.5 * static_cast<double>(last - first);
  const double n = static_cast<double>(sorted.size());
  const double share = std::clamp(below / n, 0.5 / n, 1 - 0.5 / n);
  const double bias = normal_quantile(share);
  const auto corrected = [&](double p) {
    const double z = bias + normal_quantile(p);
    return quantile(sorted, normal_cdf(bias + z / (1 - accelerate * z)));
  };
  return {corrected((1 - level) / 2), corrected((1 + level) / 2)};
}

}  // namespace

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

double normal_quantile(double p) {
  KVG_CHECK(p > 0 && p < 1, "a quantile needs a probability in (0, 1)");
  double low = -40, high = 40;
  for (int step = 0; step < 200 && high - low > 1e-15 * std::max(1.0, std::abs(low)); ++step) {
    const double middle = 0.5 * (low + high);
    (normal_cdf(middle) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

double beta_cdf(double x, double a, double b) {
  KVG_CHECK(a > 0 && b > 0, "the beta distribution needs positive parameters");
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(x, a, b) / a;
  return 1 - front * beta_fraction(1 - x, b, a) / b;
}

double beta_quantile(double p, double a, double b) {
  double low = 0, high = 1;
  for (int step = 0; step < 200 && high - low > 1e-16; ++step) {
    const double middle = 0.5 * (low + high);
    (beta_cdf(middle, a, b) < p ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

Interval wilson(int64_t successes, int64_t n, double level) {
  KVG_CHECK(n > 0 && successes >= 0 && successes <= n, "not a proportion");
  const double z = normal_quantile((1 + level) / 2);
  const double count = static_cast<double>(n);
  const double p = static_cast<double>(successes) / count;
  const double scale = 1 + z * z / count;
  const double middle = (p + z * z / (2 * count)) / scale;
  const double half = z / scale * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count));
  return {std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

Interval clopper_pearson(int64_t successes, int64_t n, double level) {
  KVG_CHECK(n > 0 && successes >= 0 && successes <= n, "not a proportion");
  const double tail = (1 - level) / 2;
  const double k = static_cast<double>(successes);
  const double rest = static_cast<double>(n - successes);
  return {successes == 0 ? 0 : beta_quantile(tail, k, rest + 1),
          successes == n ? 1 : beta_quantile(1 - tail, k + 1, rest)};
}

Interval proportion_interval(int64_t successes, int64_t n, double level) {
  return successes == 0 || successes == n ? clopper_pearson(successes, n, level)
                                          : wilson(successes, n, level);
}

double ratio(std::span<const BootstrapUnit> units) {
  double value = 0, weight = 0;
  for (const BootstrapUnit& unit : units) {
    value += unit.value;
    weight += unit.weight;
  }
  KVG_CHECK(weight > 0, "a mean needs a positive total weight");
  return value / weight;
}

Estimate bootstrap(std::span<const BootstrapUnit> units, const BootstrapOptions& options) {
  Estimate result;
  result.value = ratio(units);
  result.units = static_cast<int64_t>(units.size());
  result.interval = {result.value, result.value};
  if (units.size() < 2) return result;
  Random random(options.seed);
  std::vector<double> samples;
  samples.reserve(static_cast<size_t>(options.resamples));
  while (std::ssize(samples) < options.resamples) {
    double value = 0, weight = 0;
    for (size_t draw = 0; draw < units.size(); ++draw) {
      const BootstrapUnit& unit = units[random.below(units.size())];
      value += unit.value;
      weight += unit.weight;
    }
    // A resample without weight (possible only where units of weight 0 exist) has no mean.
    if (weight > 0) samples.push_back(value / weight);
  }
  std::sort(samples.begin(), samples.end());
  const bool constant = samples.front() == samples.back();
  result.interval = options.bca && !constant
                        ? bca_interval(samples, result.value, options.level, acceleration(units))
                        : percentile_interval(samples, options.level);
  return result;
}

Estimate bootstrap_mean(std::span<const double> values, const BootstrapOptions& options) {
  std::vector<BootstrapUnit> units;
  units.reserve(values.size());
  for (const double value : values) units.push_back({value, 1});
  return bootstrap(units, options);
}

Estimate bootstrap_median(std::span<const double> values, const BootstrapOptions& options) {
  KVG_CHECK(!values.empty(), "a median needs values");
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  Estimate result;
  result.value = quantile(sorted, 0.5);
  result.units = static_cast<int64_t>(values.size());
  Random random(options.seed);
  std::vector<double> medians(static_cast<size_t>(options.resamples));
  std::vector<double> sample(values.size());
  for (double& median : medians) {
    for (double& x : sample) x = values[random.below(values.size())];
    std::sort(sample.begin(), sample.end());
    median = quantile(sample, 0.5);
  }
  std::sort(medians.begin(), medians.end());
  result.interval = percentile_interval(medians, options.level);
  return result;
}

Estimate paired_difference(std::span<const double> a, std::span<const double> b,
                           const BootstrapOptions& options) {
  KVG_CHECK(a.size() == b.size(), "pairs need equal sizes");
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return bootstrap_mean(difference, options);
}

double standard_deviation(std::span<const double> values) {
  KVG_CHECK(values.size() >= 2, "a standard deviation needs two values");
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / (n - 1));
}

Interval student_interval(std::span<const double> values, double level) {
  const double deviation = standard_deviation(values);
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  // P(|T| > t) of n - 1 degrees of freedom is I_x((n - 1) / 2, 1 / 2) at x = (n - 1) / (n - 1 +
  // t^2).
  const double x = beta_quantile(1 - level, (n - 1) / 2, 0.5);
  const double half = std::sqrt((n - 1) * (1 - x) / x) * deviation / std::sqrt(n);
  return {mean - half, mean + half};
}

double mcnemar_exact(int64_t only_a, int64_t only_b) {
  KVG_CHECK(only_a >= 0 && only_b >= 0, "counts cannot be negative");
  const int64_t n = only_a + only_b;
  if (n == 0) return 1;
  // P(X <= k) of Binomial(n, 1/2) is I_{1/2}(n - k, k + 1).
  const double k = static_cast<double>(std::min(only_a, only_b));
  if (only_a == only_b) return 1;
  return std::min(1.0, 2 * beta_cdf(0.5, static_cast<double>(n) - k, k + 1));
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return p_values[x] < p_values[y]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    const double factor = static_cast<double>(order.size() - rank);
    largest = std::max(largest, std::min(1.0, factor * p_values[order[rank]]));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter:
      return "BETTER";
    case Verdict::kWorse:
      return "WORSE";
    case Verdict::kSame:
      return "SAME";
    case Verdict::kInconclusive:
      return "INCONCLUSIVE";
  }
  return "";
}

Verdict equivalence_verdict(const Interval& difference, double margin, bool higher_is_better) {
  KVG_CHECK(margin >= 0 && difference.low <= difference.high, "not an interval and a margin");
  if (difference.low >= -margin && difference.high <= margin) return Verdict::kSame;
  if (difference.low > 0) return higher_is_better ? Verdict::kBetter : Verdict::kWorse;
  if (difference.high < 0) return higher_is_better ? Verdict::kWorse : Verdict::kBetter;
  return Verdict::kInconclusive;
}

}  // namespace kvg
