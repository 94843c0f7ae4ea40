#include "reports/study/effect.h"
#include "reports/study/study_page.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <fmt/format.h>

namespace kvg::reports {

namespace {

std::string value_of(const Quantity& quantity, double value) {
  return fmt::format("{} {}", signed_fixed(value * quantity.scale(), quantity.decimals()),
                     quantity.unit);
}

// Whether an interval says which way it goes.
bool excludes_zero(const std::optional<Interval>& interval) {
  return interval && (interval->low > 0 || interval->high < 0);
}

std::string verdict_of(const SeededEffect& effect) {
  const bool items = excludes_zero(effect.mean->interval);
  if (!effect.seed_interval) {
    return items ? "the items exclude 0, but one seed cannot say what another would give"
                 : "the items do not exclude 0";
  }
  const bool seeds = excludes_zero(effect.seed_interval);
  if (items && seeds) return "both exclude 0";
  if (items) return "the items exclude 0, the seeds do not";
  return seeds ? "the seeds exclude 0, the items do not" : "neither excludes 0";
}

std::string finding(const Study& study, const Quantity& quantity) {
  const std::vector<ArmContrast> contrasts = factorial_contrasts(*study.factorial);
  const SeededEffect off = seeded_effect(quantity, contrasts[0], study.options);
  const SeededEffect on = seeded_effect(quantity, contrasts[1], study.options);
  const SeededEffect both = seeded_effect(quantity, contrasts[2], study.options);
  if (!off.mean || !on.mean || !both.mean) return "";
  const auto& factors = study.factorial->factors;
  std::string intervals =
      fmt::format("95 % over items {}",
                  interval_text(both.mean->interval, quantity.scale(), quantity.decimals(), true));
  if (both.seed_interval) {
    intervals +=
        fmt::format(", over {} seeds {}", both.seeds.size(),
                    interval_text(both.seed_interval, quantity.scale(), quantity.decimals(), true));
  }
  return fmt::format(
      "{}: {} changes it by {} where {} is off and by {} where it is on; the interaction is {} "
      "({}: {}).",
      quantity.title, factors[1], value_of(quantity, off.mean->value), factors[0],
      value_of(quantity, on.mean->value), value_of(quantity, both.mean->value), intervals,
      verdict_of(both));
}

}  // namespace

std::vector<std::string> study_findings(const Study& study) {
  std::vector<std::string> findings;
  if (!study.factorial) return findings;
  for (const auto& quantities : {likelihoods(study), scores(study), gold_answers(study)}) {
    for (const Quantity& quantity : quantities) {
      std::string sentence = finding(study, quantity);
      if (!sentence.empty()) findings.push_back(std::move(sentence));
    }
  }
  return findings;
}

}  // namespace kvg::reports
