#pragma once

#include "base/statistics.h"
#include "reports/record.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kvg::reports {

// Every number of a report is computed here from the items of a record.

using ItemRefs = std::vector<const Item*>;

struct StatisticsOptions {
  int64_t resamples = 10000;
  uint64_t seed = 0;
  double accuracy_margin = 0.01;  // differences of accuracy up to this are the same, in shares
  double nll_margin = 0.005;      // and of nats per token, relative to the baseline
  double alpha = 0.05;            // of a family of comparisons (Holm)
};

// A bootstrap of fewer units than this says nothing; then no interval is given.
inline constexpr int64_t kMinimumUnits = 5;

struct Metric {
  double value = 0;
  std::optional<Interval> interval;  // 95 %
  std::string interval_method;       // "Wilson", "cluster bootstrap", ..., "none"
  int64_t n = 0;                     // items
  int64_t units = 0;   // exchangeable units behind the interval: items, contexts, blocks
  int64_t failed = 0;  // items that failed
};

// Share of right answers; failures count as wrong. Wilson's interval (Clopper-Pearson at 0 and 1)
// when every item has a context of its own, otherwise a bootstrap clustered by context.
std::optional<Metric> accuracy(const ItemRefs& items, const StatisticsOptions& options);

// sum(NLL) / sum(tokens) with a bootstrap over blocks of tokens; failures are left out and counted.
std::optional<Metric> nats_per_token(const ItemRefs& items, const StatisticsOptions& options);

// sum(NLL) / (ln 2 * sum(bytes)) over the rows whose text is known exactly; NaN without any.
double bits_per_byte(const ItemRefs& items);

// Nats per token of one bucket of each row (`of` returns nullptr where a row lacks it), rows as
// units.
std::optional<Metric> bucket_nats(const ItemRefs& items,
                                  const std::function<const Bucket*(const Item&)>& of,
                                  const StatisticsOptions& options);

// The items of `run` under one condition of one task that `keep` accepts, by method.
ItemRefs select(const Run& run, std::string_view method, std::string_view condition,
                std::string_view task, const std::function<bool(const Item&)>& keep = {});

// Pairs on Item::pairing_key().
struct Pairs {
  std::vector<std::pair<const Item*, const Item*>> matched;  // (baseline, candidate)
  ItemRefs only_baseline, only_candidate;
};
// Whether two rows that pair by their place in the grid are the same question over the same tokens,
// as far as rows of failed items can tell.
bool same_item(const Item& a, const Item& b);

Pairs match(const ItemRefs& baseline, const ItemRefs& candidate);

// Candidate minus baseline over matched items.
struct Paired {
  double baseline = 0, candidate = 0;  // over the matched items
  double difference = 0;
  std::optional<Interval> interval;  // 95 %
  std::string interval_method;
  int64_t pairs = 0, units = 0;
  int64_t wins = 0, losses = 0, ties = 0;  // of the candidate
  std::optional<double> mcnemar_p;         // of 0/1 items
  double p = 1;  // McNemar's when every item has its own context, otherwise a sign-flip permutation
                 // test over contexts or blocks
  bool identical = false;  // every output or likelihood agrees exactly
};

std::optional<Paired> paired_accuracy(const Pairs& pairs, const StatisticsOptions& options);
std::optional<Paired> paired_nats(const Pairs& pairs, const StatisticsOptions& options);

// The same for one bucket, rows as units.
std::optional<Paired> paired_bucket(const Pairs& pairs,
                                    const std::function<const Bucket*(const Item&)>& of,
                                    const StatisticsOptions& options);

// Two-sided p of sum(values) when each value's sign is a coin (10,000 draws and the observed one).
double sign_flip_p(std::span<const double> values, uint64_t seed);

// SAME when the interval lies inside the margin or everything is identical; BETTER or WORSE when
// the interval excludes 0 and the Holm-adjusted p is at most alpha; otherwise INCONCLUSIVE.
Verdict judge(const Paired& paired, double margin, bool higher_is_better, double adjusted_p,
              double alpha);

}  // namespace kvg::reports
