#include "reports/study/study_tables.h"

#include "base/names.h"
#include "reports/figures.h"
#include "reports/labels.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr const char* kNone = "\u2013";

std::string seed_count(size_t seeds) {
  return seeds == 1 ? "1 seed" : fmt::format("{} seeds", seeds);
}

std::string printed(const Quantity& quantity, double value, bool with_sign) {
  const double scaled = value * quantity.scale();
  if (with_sign) return signed_fixed(scaled, quantity.decimals());
  return quantity.share ? percent(value) : fixed(scaled, quantity.decimals());
}

std::string interval_of(const Quantity& quantity, const std::optional<Interval>& interval,
                        bool with_sign) {
  return interval_text(interval, quantity.scale(), quantity.decimals(), with_sign);
}

std::string left_out(const Effect& effect) {
  return effect.left_out > 0 ? fmt::format(", {} items left out", effect.left_out) : "";
}

// "[1.2, 1.3], SD 0.01"
std::string spread(const Quantity& quantity, const SeededEffect& effect, bool with_sign) {
  std::string text = interval_of(quantity, effect.mean->interval, with_sign);
  if (effect.deviation) {
    text +=
        fmt::format(", SD {}", fixed(*effect.deviation * quantity.scale(), quantity.decimals()));
  }
  return text + left_out(*effect.mean);
}

// "ppl 21.7" of the nats of a text, "" of anything else.
std::string perplexity_of(const Quantity& quantity, double nats) {
  return quantity.measure->likelihood ? "ppl " + fixed(std::exp(nats), 2) : "";
}

std::string seed_note(const Quantity& quantity, const SeededEffect& effect, bool with_sign) {
  std::string note = fmt::format("{} items, {} units, {}", effect.mean->items, effect.mean->units,
                                 seed_count(effect.seeds.size()));
  for (const auto& [seed, one] : effect.seeds) {
    note += fmt::format("; seed {}: {}", seed, printed(quantity, one.value, with_sign));
  }
  return note;
}

std::vector<Column> columns_of(const std::string& first, const TitledQuantities& quantities) {
  std::vector<Column> columns = {{first, false}};
  for (const auto& [title, quantity] : quantities) {
    columns.push_back({title, true, quantity.share ? "" : quantity.unit});
  }
  return columns;
}

bool any_number(const std::vector<Cell>& row) {
  return std::any_of(row.begin() + 1, row.end(), [](const Cell& c) { return c.text != kNone; });
}

TitledQuantities split_by(const Study& study, const Quantity& quantity,
                          const std::function<std::string(const Item&)>& property,
                          const std::function<std::string(const std::string&)>& title) {
  std::set<std::string, NumbersFirst> values;
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      for (const Item* item : run.items(*quantity.measure)) values.insert(property(*item));
    }
  }
  values.erase("");
  TitledQuantities parts;
  for (const std::string& value : values) {
    parts.emplace_back(
        title(value),
        quantity.where({property, [value](const std::string& found) { return found == value; }}));
  }
  return parts;
}

}  // namespace

Cell arm_cell(const Arm& arm) {
  std::vector<std::string> words;
  for (const auto& [factor, on] : arm.factors) words.push_back(factor + (on ? " on" : " off"));
  if (arm.role == ArmRole::kControl) words.push_back("control of " + arm.compare);
  if (words.empty()) words.push_back("reference");
  return {arm.name, join(words), std::nullopt, arm.style.css_class, arm.seeds[0].method->method};
}

Cell mean_cell(const Quantity& quantity, const SeededEffect& effect) {
  if (!effect.mean) return {kNone, ""};
  return {printed(quantity, effect.mean->value, false), spread(quantity, effect, false),
          std::nullopt, "", seed_note(quantity, effect, false)};
}

Cell difference_cell(const Quantity& quantity, const SeededEffect& effect) {
  if (!effect.mean) return {kNone, ""};
  return {printed(quantity, effect.mean->value, true), spread(quantity, effect, true), std::nullopt,
          "", seed_note(quantity, effect, true)};
}

Table arm_table(const Study& study, const TitledQuantities& quantities) {
  Table table;
  table.columns = columns_of("Arm", quantities);
  ArmRole role = study.arms[0].role;
  for (const Arm& arm : study.arms) {
    std::vector<Cell> row = {arm_cell(arm)};
    for (const auto& [title, quantity] : quantities) {
      row.push_back(mean_cell(quantity, seeded_effect(quantity, mean_of(arm), study.options)));
    }
    if (!any_number(row)) continue;
    if (arm.role != role) table.rules.push_back(table.rows.size());
    role = arm.role;
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table seed_table(const Study& study, const TitledQuantities& quantities) {
  Table table;
  table.columns = columns_of("Arm and seed", quantities);
  for (const Arm& arm : study.arms) {
    table.rules.push_back(table.rows.size());
    for (const ArmRun& run : arm.seeds) {
      std::vector<Cell> row = {{fmt::format("{}, seed {}", arm.name, run.entry->seed), "",
                                std::nullopt, arm.style.css_class, run.entry->run.string()}};
      for (const auto& [title, quantity] : quantities) {
        const auto effect = estimate(quantity, {{run.items(*quantity.measure), 1}}, study.options);
        row.push_back(effect
                          ? Cell{printed(quantity, effect->value, false),
                                 interval_of(quantity, effect->interval, false) + left_out(*effect)}
                          : Cell{kNone, ""});
      }
      if (any_number(row)) table.rows.push_back(std::move(row));
    }
  }
  return table;
}

Table counterpart_table(const Study& study, const TitledQuantities& quantities) {
  Table table;
  table.columns = columns_of("Difference", quantities);
  for (const Arm& arm : study.arms) {
    const Arm* other = study.counterpart(arm);
    if (other == nullptr) continue;
    const ArmContrast contrast{fmt::format("{} \u2212 {}", arm.name, other->name),
                               {{&arm, 1}, {other, -1}}};
    std::vector<Cell> row = {{contrast.name, "", std::nullopt, arm.style.css_class}};
    for (const auto& [title, quantity] : quantities) {
      row.push_back(difference_cell(quantity, seeded_effect(quantity, contrast, study.options)));
    }
    if (any_number(row)) table.rows.push_back(std::move(row));
  }
  return table;
}

Table cell_table(const Study& study, const std::vector<Quantity>& quantities) {
  Table table;
  const Factorial& factorial = *study.factorial;
  table.columns = {{"", false}};
  for (const auto& row : factorial.cells) {
    for (const Arm* arm : row) table.columns.push_back({arm->name});
  }
  const auto& [a, b] = factorial.factors;
  const std::vector<ArmContrast> contrasts = factorial_contrasts(factorial);
  table.columns.push_back({b, true, a + " off"});
  table.columns.push_back({b, true, a + " on"});
  table.columns.push_back({"interaction", true, "95 % over items, SD of seeds"});
  for (const Quantity& quantity : quantities) {
    std::vector<Cell> row = {{quantity.title, quantity.share ? "right answers" : quantity.unit}};
    for (const auto& cells : factorial.cells) {
      for (const Arm* arm : cells) {
        const auto effect = seeded_effect(quantity, mean_of(*arm), study.options);
        row.push_back(effect.mean ? Cell{printed(quantity, effect.mean->value, false),
                                         perplexity_of(quantity, effect.mean->value)}
                                  : Cell{kNone, ""});
      }
    }
    for (size_t c = 0; c < 3; ++c) {
      const auto effect = seeded_effect(quantity, contrasts[c], study.options);
      row.push_back(difference_cell(quantity, effect));
      // The question of the table is the interaction; the penalties' seeds stand further down.
      if (c < 2 && effect.mean) {
        row.back().detail = interval_of(quantity, effect.mean->interval, true);
      }
    }
    if (any_number(row)) table.rows.push_back(std::move(row));
  }
  return table;
}

Table effect_table(const Quantity& quantity, const std::vector<SeededEffect>& effects) {
  Table table;
  std::set<int64_t> seeds;
  for (const SeededEffect& effect : effects) {
    for (const auto& [seed, one] : effect.seeds) seeds.insert(seed);
  }
  table.columns = {{"Effect", false, quantity.unit}};
  for (const int64_t seed : seeds) table.columns.push_back({fmt::format("seed {}", seed)});
  table.columns.push_back({"mean", true, "95 % over items"});
  table.columns.push_back({"between seeds", true, "SD, 95 % over seeds"});
  table.columns.push_back({"p", true, "items; Holm below"});
  for (const SeededEffect& effect : effects) {
    std::vector<Cell> row = {{effect.name, ""}};
    for (const int64_t seed : seeds) {
      const auto it = std::find_if(effect.seeds.begin(), effect.seeds.end(),
                                   [seed](const auto& one) { return one.first == seed; });
      row.push_back(it == effect.seeds.end()
                        ? Cell{kNone, ""}
                        : Cell{printed(quantity, it->second.value, true),
                               interval_of(quantity, it->second.interval, true)});
    }
    row.push_back({printed(quantity, effect.mean->value, true),
                   interval_of(quantity, effect.mean->interval, true) + left_out(*effect.mean),
                   std::nullopt, "",
                   fmt::format("{} items, {} units", effect.mean->items, effect.mean->units)});
    row.push_back(effect.deviation
                      ? Cell{fixed(*effect.deviation * quantity.scale(), quantity.decimals()),
                             interval_of(quantity, effect.seed_interval, true)}
                      : Cell{kNone, "1 seed"});
    row.push_back({p_value(effect.mean->p), p_value(effect.adjusted_p)});
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table control_difference_table(const Study& study, const std::vector<Quantity>& quantities) {
  Table table;
  table.columns = {{"Control \u2212 compared arm", false}};
  const std::vector<ArmContrast> contrasts = control_contrasts(study);
  for (const ArmContrast& contrast : contrasts) {
    const Arm& arm = *contrast.arms[0].first;
    table.rows.push_back({{contrast.name, "", std::nullopt, arm.style.css_class}});
  }
  for (const Quantity& quantity : quantities) {
    table.columns.push_back({quantity.title, true, quantity.unit});
    const std::vector<SeededEffect> effects = family(quantity, contrasts, study.options);
    for (auto& row : table.rows) {
      const auto it = std::find_if(effects.begin(), effects.end(), [&](const SeededEffect& effect) {
        return effect.name == row[0].text;
      });
      row.push_back(it == effects.end() ? Cell{kNone, ""} : difference_cell(quantity, *it));
      if (it != effects.end()) {
        row.back().detail += ", p " + p_value(it->adjusted_p);
      }
    }
  }
  std::erase_if(table.rows, [](const std::vector<Cell>& row) { return !any_number(row); });
  return table;
}

TitledQuantities by_axis(const Study& study, const Quantity& quantity, const std::string& axis) {
  return split_by(
      study, quantity, [axis](const Item& item) { return axis_of(item, axis); },
      [axis](const std::string& value) { return printed_axis(axis, value); });
}

TitledQuantities by_stratum(const Study& study, const Quantity& quantity,
                            const std::string& stratum) {
  return split_by(
      study, quantity, [stratum](const Item& item) { return stratum_of(item, stratum); },
      [](const std::string& value) { return value; });
}

TitledQuantities by_position(const Study& study, const Measure& measure) {
  std::set<std::pair<int64_t, int64_t>> ranges;
  for (const Arm& arm : study.arms) {
    for (const ArmRun& run : arm.seeds) {
      for (const Item* item : run.items(measure)) {
        if (!item->likelihood) continue;
        for (const Bucket& bucket : item->likelihood->positions) {
          if (bucket.tokens > 0) ranges.emplace(bucket.from, bucket.to);
        }
      }
    }
  }
  TitledQuantities quantities;
  for (const auto& range : ranges) {
    quantities.emplace_back(range_label(range), position_quantity(measure, range));
  }
  return quantities;
}

}  // namespace kvg::reports
