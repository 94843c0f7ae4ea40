#include "reports/metrics.h"

#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <unordered_map>

namespace kvg::reports {

namespace {

BootstrapOptions bootstrap_options(const StatisticsOptions& options) {
  BootstrapOptions bootstrap;
  bootstrap.resamples = options.resamples;
  bootstrap.seed = options.seed;
  return bootstrap;
}

std::vector<BootstrapUnit> clusters_of(const std::map<std::string, BootstrapUnit>& by_group) {
  std::vector<BootstrapUnit> units;
  for (const auto& [group, unit] : by_group) units.push_back(unit);
  return units;
}

bool all_agree(const std::vector<BootstrapUnit>& units) {
  return std::all_of(units.begin(), units.end(), [&](const BootstrapUnit& unit) {
    return unit.value * units[0].weight == units[0].value * unit.weight;
  });
}

// What `bootstrap` gives, or no interval where there are too few units for one.
std::optional<Interval> bootstrap_interval(const std::vector<BootstrapUnit>& units,
                                           const StatisticsOptions& options) {
  if (static_cast<int64_t>(units.size()) < kMinimumUnits) return std::nullopt;
  return bootstrap(units, bootstrap_options(options)).interval;
}

void accuracy_interval(const std::vector<BootstrapUnit>& units, const StatisticsOptions& options,
                       Metric* metric) {
  const auto count = static_cast<int64_t>(units.size());
  if (count == metric->n) {
    const auto right = std::llround(metric->value * static_cast<double>(metric->n));
    metric->interval = proportion_interval(right, metric->n);
    metric->interval_method = right == 0 || right == metric->n ? "Clopper-Pearson" : "Wilson";
  } else if (metric->value == 0 || metric->value == 1) {
    // A bootstrap of agreeing clusters has no width; their number bounds what was not seen.
    metric->interval = clopper_pearson(metric->value == 1 ? count : 0, count);
    metric->interval_method = "Clopper-Pearson over contexts";
  } else {
    metric->interval = bootstrap_interval(units, options);
    metric->interval_method = metric->interval ? "cluster bootstrap" : "none";
  }
}

// Differences of 0/1 items that all agree: what `count` agreeing units cannot exclude.
Interval degenerate_interval(double difference, int64_t count) {
  const double unseen = clopper_pearson(0, count).high;
  return {std::max(difference - unseen, -1.0), std::min(difference + unseen, 1.0)};
}

std::vector<double> values_of(const std::vector<BootstrapUnit>& units) {
  std::vector<double> values;
  for (const BootstrapUnit& unit : units) values.push_back(unit.value);
  return values;
}

void count_outcome(double difference, bool higher_is_better, Paired* paired) {
  const bool win = higher_is_better ? difference > 0 : difference < 0;
  ++(difference == 0 ? paired->ties : win ? paired->wins : paired->losses);
}

// Aligned blocks of two rows over the same tokens; whole rows where the blocks are not aligned.
void add_blocks(const Likelihood& a, const Likelihood& b, std::vector<BootstrapUnit>* units) {
  const bool aligned =
      std::equal(a.blocks.begin(), a.blocks.end(), b.blocks.begin(), b.blocks.end(),
                 [](const Block& x, const Block& y) { return x.tokens == y.tokens; });
  if (!aligned) {
    units->push_back({b.nll - a.nll, static_cast<double>(a.tokens)});
    return;
  }
  for (size_t i = 0; i < a.blocks.size(); ++i) {
    units->push_back({b.blocks[i].nll - a.blocks[i].nll, static_cast<double>(a.blocks[i].tokens)});
  }
}

void finish_likelihood(const std::vector<BootstrapUnit>& units, const StatisticsOptions& options,
                       const char* method, Paired* paired) {
  paired->units = static_cast<int64_t>(units.size());
  paired->difference = ratio(units);
  paired->interval = bootstrap_interval(units, options);
  paired->interval_method = paired->interval ? method : "none";
  for (const BootstrapUnit& unit : units) count_outcome(unit.value, false, paired);
  paired->identical = paired->ties == paired->units;
}

}  // namespace

std::optional<Metric> accuracy(const ItemRefs& items, const StatisticsOptions& options) {
  if (items.empty()) return std::nullopt;
  Metric metric;
  std::map<std::string, BootstrapUnit> by_group;
  double right = 0;
  for (const Item* item : items) {
    BootstrapUnit& unit = by_group.try_emplace(item->group, BootstrapUnit{0, 0}).first->second;
    unit.value += item->score_or_zero();
    unit.weight += 1;
    right += item->score_or_zero();
    metric.failed += item->failed() ? 1 : 0;
  }
  metric.n = static_cast<int64_t>(items.size());
  metric.units = static_cast<int64_t>(by_group.size());
  metric.value = right / static_cast<double>(metric.n);
  accuracy_interval(clusters_of(by_group), options, &metric);
  return metric;
}

std::optional<Metric> nats_per_token(const ItemRefs& items, const StatisticsOptions& options) {
  Metric metric;
  std::vector<BootstrapUnit> units;
  for (const Item* item : items) {
    ++metric.n;
    metric.failed += item->failed() ? 1 : 0;
    if (!item->likelihood) continue;
    for (const Block& block : item->likelihood->blocks) {
      units.push_back({block.nll, static_cast<double>(block.tokens)});
    }
  }
  if (units.empty()) return std::nullopt;
  metric.units = static_cast<int64_t>(units.size());
  metric.value = ratio(units);
  metric.interval = bootstrap_interval(units, options);
  metric.interval_method = metric.interval ? "block bootstrap" : "none";
  return metric;
}

double bits_per_byte(const ItemRefs& items) {
  double nll = 0, bytes = 0;
  for (const Item* item : items) {
    if (!item->likelihood || !item->likelihood->text_bytes) continue;
    nll += item->likelihood->nll;
    bytes += static_cast<double>(*item->likelihood->text_bytes);
  }
  return bytes > 0 ? nll / (std::numbers::ln2 * bytes) : std::numeric_limits<double>::quiet_NaN();
}

std::optional<Metric> bucket_nats(const ItemRefs& items,
                                  const std::function<const Bucket*(const Item&)>& of,
                                  const StatisticsOptions& options) {
  Metric metric;
  std::vector<BootstrapUnit> units;
  for (const Item* item : items) {
    const Bucket* bucket = item->likelihood ? of(*item) : nullptr;
    if (bucket == nullptr || bucket->tokens == 0) continue;
    units.push_back({bucket->nll, static_cast<double>(bucket->tokens)});
    metric.n += bucket->tokens;
  }
  if (units.empty()) return std::nullopt;
  metric.units = static_cast<int64_t>(units.size());
  metric.value = ratio(units);
  metric.interval = bootstrap_interval(units, options);
  metric.interval_method = metric.interval ? "bootstrap over streams" : "none";
  return metric;
}

ItemRefs select(const Run& run, std::string_view method, std::string_view condition,
                std::string_view task, const std::function<bool(const Item&)>& keep) {
  ItemRefs selected;
  for (const Item& item : run.items) {
    if (item.method == method && item.condition == condition && item.task == task &&
        (!keep || keep(item))) {
      selected.push_back(&item);
    }
  }
  return selected;
}

bool same_item(const Item& a, const Item& b) {
  if (a.seed != b.seed || a.group != b.group) return false;
  if (a.failed() || b.failed()) return true;
  if (a.likelihood && b.likelihood) {
    return a.likelihood->tokens == b.likelihood->tokens && a.n_prompt == b.n_prompt;
  }
  return a.likelihood.has_value() == b.likelihood.has_value() && a.question == b.question &&
         a.expected == b.expected;
}

Pairs match(const ItemRefs& baseline, const ItemRefs& candidate) {
  std::unordered_map<std::string, const Item*> by_key;
  for (const Item* item : candidate) by_key.emplace(item->pairing_key(), item);
  Pairs pairs;
  for (const Item* item : baseline) {
    const auto it = by_key.find(item->pairing_key());
    if (it == by_key.end()) {
      pairs.only_baseline.push_back(item);
    } else {
      pairs.matched.emplace_back(item, it->second);
      by_key.erase(it);
    }
  }
  for (const Item* item : candidate) {
    if (by_key.contains(item->pairing_key())) pairs.only_candidate.push_back(item);
  }
  return pairs;
}

std::optional<Paired> paired_accuracy(const Pairs& pairs, const StatisticsOptions& options) {
  if (pairs.matched.empty()) return std::nullopt;
  Paired paired;
  paired.identical = true;
  std::map<std::string, BootstrapUnit> by_group;
  for (const auto& [a, b] : pairs.matched) {
    const double difference = b->score_or_zero() - a->score_or_zero();
    paired.baseline += a->score_or_zero();
    paired.candidate += b->score_or_zero();
    BootstrapUnit& unit = by_group.try_emplace(a->group, BootstrapUnit{0, 0}).first->second;
    unit.value += difference;
    unit.weight += 1;
    count_outcome(difference, true, &paired);
    paired.identical = paired.identical && difference == 0 && a->output == b->output &&
                       !a->failed() && !b->failed();
  }
  paired.pairs = static_cast<int64_t>(pairs.matched.size());
  const auto n = static_cast<double>(paired.pairs);
  paired.baseline /= n;
  paired.candidate /= n;
  const std::vector<BootstrapUnit> units = clusters_of(by_group);
  paired.units = static_cast<int64_t>(units.size());
  paired.difference = ratio(units);
  if (all_agree(units)) {
    paired.interval = degenerate_interval(paired.difference, paired.units);
    paired.interval_method = "Clopper-Pearson over contexts";
  } else {
    paired.interval = bootstrap_interval(units, options);
    paired.interval_method = !paired.interval               ? "none"
                             : paired.units == paired.pairs ? "paired bootstrap"
                                                            : "paired cluster bootstrap";
  }
  paired.mcnemar_p = mcnemar_exact(paired.losses, paired.wins);
  paired.p = paired.units == paired.pairs ? *paired.mcnemar_p
                                          : sign_flip_p(values_of(units), options.seed);
  return paired;
}

std::optional<Paired> paired_nats(const Pairs& pairs, const StatisticsOptions& options) {
  Paired paired;
  std::vector<BootstrapUnit> units;
  double tokens = 0;
  for (const auto& [a, b] : pairs.matched) {
    // Rows over other tokens would compare texts, not methods.
    if (!a->likelihood || !b->likelihood || a->likelihood->tokens != b->likelihood->tokens)
      continue;
    add_blocks(*a->likelihood, *b->likelihood, &units);
    paired.baseline += a->likelihood->nll;
    paired.candidate += b->likelihood->nll;
    tokens += static_cast<double>(a->likelihood->tokens);
    ++paired.pairs;
  }
  if (units.empty()) return std::nullopt;
  paired.baseline /= tokens;
  paired.candidate /= tokens;
  finish_likelihood(units, options, "paired block bootstrap", &paired);
  paired.p = sign_flip_p(values_of(units), options.seed);
  return paired;
}

std::optional<Paired> paired_bucket(const Pairs& pairs,
                                    const std::function<const Bucket*(const Item&)>& of,
                                    const StatisticsOptions& options) {
  Paired paired;
  std::vector<BootstrapUnit> units;
  for (const auto& [a, b] : pairs.matched) {
    const Bucket* x = a->likelihood ? of(*a) : nullptr;
    const Bucket* y = b->likelihood ? of(*b) : nullptr;
    if (x == nullptr || y == nullptr || x->tokens == 0 || x->tokens != y->tokens) continue;
    units.push_back({y->nll - x->nll, static_cast<double>(x->tokens)});
    ++paired.pairs;
  }
  if (units.empty()) return std::nullopt;
  finish_likelihood(units, options, "paired bootstrap over streams", &paired);
  return paired;
}

double sign_flip_p(std::span<const double> values, uint64_t seed) {
  constexpr int kDraws = 10000;
  double observed = 0, scale = 0;
  for (const double value : values) {
    observed += value;
    scale += std::abs(value);
  }
  if (scale == 0) return 1;
  // Sums in another order round differently; equal ones must still count as equal.
  const double threshold = std::abs(observed) - 1e-12 * scale;
  Random random(mix_seed({seed, name_seed("sign flip")}));
  int as_extreme = 1;
  for (int draw = 0; draw < kDraws; ++draw) {
    double sum = 0;
    uint32_t bits = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (i % 32 == 0) bits = random.next_u32();
      sum += (bits & 1) != 0 ? values[i] : -values[i];
      bits >>= 1;
    }
    as_extreme += std::abs(sum) >= threshold ? 1 : 0;
  }
  return static_cast<double>(as_extreme) / (kDraws + 1);
}

Verdict judge(const Paired& paired, double margin, bool higher_is_better, double adjusted_p,
              double alpha) {
  if (paired.identical) return Verdict::kSame;
  if (!paired.interval) return Verdict::kInconclusive;
  const Verdict verdict = equivalence_verdict(*paired.interval, margin, higher_is_better);
  const bool directed = verdict == Verdict::kBetter || verdict == Verdict::kWorse;
  return directed && adjusted_p > alpha ? Verdict::kInconclusive : verdict;
}

}  // namespace kvg::reports
