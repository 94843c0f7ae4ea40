#pragma once

#include "reports/study/quantity.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kvg::reports {

// A sum of means, paired item by item: one mean, a difference, an interaction.
struct Effect {
  double value = 0;
  std::optional<Interval> interval;  // 95 %, over items, given these weights
  int64_t items = 0, units = 0;
  int64_t left_out = 0;  // items without a number in at least one of the arms
  double p = 1;          // of being 0: signs flipped over units
  double sum = 0,
         weight = 0;  // of all terms together: right answers and questions, nats and tokens
};

// Items of one arm, aligned with those of the other terms: the same index is the same item.
struct Term {
  ItemRefs items;
  double weight = 1;
};

// Nothing where a mean has no items. All terms have as many items.
std::optional<Effect> estimate(const Quantity& quantity, const std::vector<Term>& terms,
                               const StatisticsOptions& options);

// Arms and their weights; the sum of weights is 1 for a mean and 0 for a comparison.
struct ArmContrast {
  std::string name;
  std::vector<std::pair<const Arm*, double>> arms;
};

// A contrast under each seed that all of its arms have, and over them.
struct SeededEffect {
  std::string name;
  std::vector<std::pair<int64_t, Effect>> seeds;
  std::optional<Effect> mean;             // over these seeds; its interval is over items
  std::optional<double> deviation;        // over seeds, of two or more
  std::optional<Interval> seed_interval;  // Student's, over seeds
  double adjusted_p = 1;                  // Holm over a family
};

// The contrasts of a 2x2 with factors A and B: the effect of B where A is off and where A is on,
// their difference (the interaction), both main effects, the effect of A where B is off and on.
std::vector<ArmContrast> factorial_contrasts(const Factorial& factorial);

// Controls minus the arms they name.
std::vector<ArmContrast> control_contrasts(const Study& study);

// The effect of an arm alone: its mean.
ArmContrast mean_of(const Arm& arm);

SeededEffect seeded_effect(const Quantity& quantity, const ArmContrast& contrast,
                           const StatisticsOptions& options);

// All of them, adjusted as one family. Those without a number are left out.
std::vector<SeededEffect> family(const Quantity& quantity,
                                 const std::vector<ArmContrast>& contrasts,
                                 const StatisticsOptions& options);

// Sets their p adjusted by Holm.
void adjust(std::vector<SeededEffect>* effects);

}  // namespace kvg::reports
