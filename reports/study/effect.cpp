#include "reports/study/effect.h"

#include "base/error.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// Sums of one term, by unit.
struct Sums {
  std::vector<double> values, weights;
};

struct Gathered {
  std::vector<Sums> terms;  // each as long as there are units
  int64_t items = 0, left_out = 0;
};

// Whether the item at `index` counts: its properties are those of the first arm that tells them.
bool accepted(const Quantity& quantity, const std::vector<Term>& terms, size_t index) {
  for (const Filter& filter : quantity.filters) {
    std::string property;
    for (const Term& term : terms) {
      if (property.empty()) property = filter.property(*term.items[index]);
    }
    if (!filter.accepts(property)) return false;
  }
  return true;
}

class Gatherer {
 public:
  Gatherer(const Quantity& quantity, const std::vector<Term>& terms)
      : quantity_(quantity), terms_(terms) {
    gathered_.terms.resize(terms.size());
    if (!quantity.by_context) return;
    // Units in the order of their names, whatever order the items are in.
    for (const Item* item : terms[0].items) units_.emplace(item->group, 0);
    size_t next = 0;
    for (auto& [group, unit] : units_) unit = next++;
    grow(next);
  }

  Gathered take() {
    for (size_t i = 0; i < terms_[0].items.size(); ++i) {
      if (accepted(quantity_, terms_, i)) add(i);
    }
    drop_empty_units();
    return std::move(gathered_);
  }

 private:
  void grow(size_t units) {
    for (Sums& sums : gathered_.terms) {
      sums.values.resize(units);
      sums.weights.resize(units);
    }
  }

  void add(size_t index) {
    std::vector<std::vector<Piece>> pieces;
    bool any = false;
    for (const Term& term : terms_) {
      pieces.push_back(quantity_.pieces(*term.items[index]));
      any = any || !pieces.back().empty();
    }
    if (!quantity_.conditional) {
      const auto alike = [&](const std::vector<Piece>& other) {
        return std::equal(other.begin(), other.end(), pieces[0].begin(), pieces[0].end(),
                          [](const Piece& a, const Piece& b) { return a.weight == b.weight; });
      };
      if (pieces[0].empty() || !std::all_of(pieces.begin(), pieces.end(), alike)) {
        gathered_.left_out += any || terms_[0].items[index]->failed() ? 1 : 0;
        return;
      }
    }
    if (!any) return;
    ++gathered_.items;
    size_t first = 0;
    if (quantity_.by_context) {
      first = units_.at(terms_[0].items[index]->group);
    } else {
      first = gathered_.terms[0].values.size();
      grow(first + pieces[0].size());
    }
    for (size_t t = 0; t < terms_.size(); ++t) {
      for (size_t p = 0; p < pieces[t].size(); ++p) {
        const size_t unit = quantity_.by_context ? first : first + p;
        gathered_.terms[t].values[unit] += pieces[t][p].value;
        gathered_.terms[t].weights[unit] += pieces[t][p].weight;
      }
    }
  }

  void drop_empty_units() {
    size_t kept = 0;
    const size_t units = gathered_.terms[0].weights.size();
    for (size_t u = 0; u < units; ++u) {
      const bool used = std::any_of(gathered_.terms.begin(), gathered_.terms.end(),
                                    [u](const Sums& sums) { return sums.weights[u] > 0; });
      if (!used) continue;
      for (Sums& sums : gathered_.terms) {
        sums.values[kept] = sums.values[u];
        sums.weights[kept] = sums.weights[u];
      }
      ++kept;
    }
    grow(kept);
  }

  const Quantity& quantity_;
  const std::vector<Term>& terms_;
  std::map<std::string, size_t> units_;
  Gathered gathered_;
};

double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

// Units whose ratio is the sum of means. Where all means share their weights this is exact;
// otherwise (shares of the items that each arm stored) every unit stands for what it moves the sum
// by, to first order.
std::vector<BootstrapUnit> units_of(const Gathered& gathered, const std::vector<Term>& terms) {
  const size_t count = gathered.terms[0].values.size();
  const bool shared =
      std::all_of(gathered.terms.begin(), gathered.terms.end(),
                  [&](const Sums& sums) { return sums.weights == gathered.terms[0].weights; });
  std::vector<BootstrapUnit> units(count, {0, 1});
  for (size_t t = 0; t < terms.size(); ++t) {
    const Sums& sums = gathered.terms[t];
    const double weight = total(sums.weights);
    const double mean = total(sums.values) / weight;
    for (size_t u = 0; u < count; ++u) {
      if (shared) {
        units[u].value += terms[t].weight * sums.values[u];
        units[u].weight = sums.weights[u];
      } else {
        const double pull = (sums.values[u] - mean * sums.weights[u]) * static_cast<double>(count);
        units[u].value += terms[t].weight * (mean + pull / weight);
      }
    }
  }
  return units;
}

// A sum of shares lies within these bounds.
Interval bounds_of(const std::vector<Term>& terms) {
  Interval bounds;
  for (const Term& term : terms) (term.weight < 0 ? bounds.low : bounds.high) += term.weight;
  return bounds;
}

std::optional<Interval> interval_of(const Quantity& quantity, const std::vector<Term>& terms,
                                    const std::vector<BootstrapUnit>& units, const Effect& effect,
                                    const StatisticsOptions& options) {
  if (quantity.share) {
    const bool single = terms.size() == 1 && effect.units == effect.items;
    if (single) {
      return proportion_interval(std::llround(effect.value * static_cast<double>(effect.items)),
                                 effect.items);
    }
    // A bootstrap of agreeing units has no width; their number bounds what was not seen.
    const bool agree = std::all_of(units.begin(), units.end(), [&](const BootstrapUnit& unit) {
      return std::abs(unit.value - effect.value * unit.weight) < 1e-9;
    });
    if (agree) {
      const Interval bounds = bounds_of(terms);
      const double unseen = clopper_pearson(0, effect.units).high *
                            std::max(std::abs(bounds.low), std::abs(bounds.high));
      return Interval{std::max(effect.value - unseen, bounds.low),
                      std::min(effect.value + unseen, bounds.high)};
    }
  }
  if (effect.units < kMinimumUnits) return std::nullopt;
  BootstrapOptions bootstrap_options;
  bootstrap_options.resamples = options.resamples;
  bootstrap_options.seed = options.seed;
  const Interval interval = bootstrap(units, bootstrap_options).interval;
  if (!quantity.share) return interval;
  // What holds to first order alone can leave the range of shares.
  const Interval bounds = bounds_of(terms);
  return Interval{std::max(interval.low, bounds.low), std::min(interval.high, bounds.high)};
}

std::string setting(const std::string& factor, bool on) { return factor + (on ? " on" : " off"); }

}  // namespace

std::optional<Effect> estimate(const Quantity& quantity, const std::vector<Term>& terms,
                               const StatisticsOptions& options) {
  KVG_CHECK(!terms.empty(), "an effect needs a term");
  for (const Term& term : terms) {
    KVG_CHECK(term.items.size() == terms[0].items.size(), "terms are aligned item by item");
  }
  const Gathered gathered = Gatherer(quantity, terms).take();
  Effect effect;
  for (const Sums& sums : gathered.terms) {
    if (!(total(sums.weights) > 0)) return std::nullopt;
    effect.sum += total(sums.values);
    effect.weight += total(sums.weights);
  }
  const std::vector<BootstrapUnit> units = units_of(gathered, terms);
  effect.value = ratio(units);
  effect.items = gathered.items;
  effect.left_out = gathered.left_out;
  effect.units = static_cast<int64_t>(units.size());
  effect.interval = interval_of(quantity, terms, units, effect, options);
  if (bounds_of(terms).low < 0) {  // a comparison, no mean
    std::vector<double> values;
    for (const BootstrapUnit& unit : units) values.push_back(unit.value);
    effect.p = sign_flip_p(values, options.seed);
  }
  return effect;
}

std::vector<ArmContrast> factorial_contrasts(const Factorial& factorial) {
  const auto& [off, on] = factorial.cells;
  const std::string &a = factorial.factors[0], &b = factorial.factors[1];
  return {{fmt::format("{} at {}", b, setting(a, false)), {{off[1], 1}, {off[0], -1}}},
          {fmt::format("{} at {}", b, setting(a, true)), {{on[1], 1}, {on[0], -1}}},
          {"interaction", {{on[1], 1}, {on[0], -1}, {off[1], -1}, {off[0], 1}}},
          {b + ", main effect", {{on[1], .5}, {off[1], .5}, {on[0], -.5}, {off[0], -.5}}},
          {a + ", main effect", {{on[1], .5}, {on[0], .5}, {off[1], -.5}, {off[0], -.5}}},
          {fmt::format("{} at {}", a, setting(b, false)), {{on[0], 1}, {off[0], -1}}},
          {fmt::format("{} at {}", a, setting(b, true)), {{on[1], 1}, {off[1], -1}}}};
}

std::vector<ArmContrast> control_contrasts(const Study& study) {
  std::vector<ArmContrast> contrasts;
  for (const Arm& arm : study.arms) {
    if (arm.role != ArmRole::kControl) continue;
    contrasts.push_back({fmt::format("{} \u2212 {}", arm.name, arm.compare),
                         {{&arm, 1}, {study.find_arm(arm.compare), -1}}});
  }
  return contrasts;
}

ArmContrast mean_of(const Arm& arm) { return {arm.name, {{&arm, 1}}}; }

SeededEffect seeded_effect(const Quantity& quantity, const ArmContrast& contrast,
                           const StatisticsOptions& options) {
  SeededEffect result;
  result.name = contrast.name;
  std::vector<std::vector<Term>> by_seed;
  for (const ArmRun& first : contrast.arms[0].first->seeds) {
    std::vector<Term> terms;
    for (const auto& [arm, weight] : contrast.arms) {
      const ArmRun* run = arm->find(first.entry->seed);
      if (run != nullptr) terms.push_back({run->items(*quantity.measure), weight});
    }
    const bool complete = terms.size() == contrast.arms.size() &&
                          std::none_of(terms.begin(), terms.end(),
                                       [](const Term& term) { return term.items.empty(); });
    if (!complete) continue;
    const auto effect = estimate(quantity, terms, options);
    if (!effect) continue;
    result.seeds.emplace_back(first.entry->seed, *effect);
    by_seed.push_back(std::move(terms));
  }
  if (result.seeds.empty()) return result;
  if (result.seeds.size() == 1) {
    result.mean = result.seeds[0].second;
    return result;
  }
  // All seeds answer the same items, so an item's own luck is drawn once for all of them.
  std::vector<Term> all;
  std::vector<double> values;
  for (size_t s = 0; s < by_seed.size(); ++s) {
    for (Term& term : by_seed[s]) {
      all.push_back({std::move(term.items), term.weight / static_cast<double>(by_seed.size())});
    }
    values.push_back(result.seeds[s].second.value);
  }
  result.mean = estimate(quantity, all, options);
  result.deviation = standard_deviation(values);
  result.seed_interval = student_interval(values);
  return result;
}

void adjust(std::vector<SeededEffect>* effects) {
  std::vector<double> p_values;
  for (const SeededEffect& effect : *effects) p_values.push_back(effect.mean->p);
  const std::vector<double> adjusted = holm(p_values);
  for (size_t i = 0; i < effects->size(); ++i) (*effects)[i].adjusted_p = adjusted[i];
}

std::vector<SeededEffect> family(const Quantity& quantity,
                                 const std::vector<ArmContrast>& contrasts,
                                 const StatisticsOptions& options) {
  std::vector<SeededEffect> effects;
  for (const ArmContrast& contrast : contrasts) {
    SeededEffect effect = seeded_effect(quantity, contrast, options);
    if (effect.mean) effects.push_back(std::move(effect));
  }
  adjust(&effects);
  return effects;
}

}  // namespace kvg::reports
