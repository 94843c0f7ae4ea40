#include "reports/study/study_figures.h"

#include "reports/charts/forest_chart.h"
#include "reports/charts/heat_map.h"
#include "reports/charts/line_chart.h"
#include "reports/text.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

ForestEntry entry_of(const Quantity& quantity, const std::string& name, const Effect& effect) {
  const Interval interval = effect.interval.value_or(Interval{effect.value, effect.value});
  const std::string text = signed_fixed(effect.value * quantity.scale(), quantity.share ? 1 : 3);
  return {effect.value, interval.low, interval.high, text,
          fmt::format("{}: {} [{}, {}]", name, text,
                      signed_fixed(interval.low * quantity.scale(), quantity.decimals()),
                      signed_fixed(interval.high * quantity.scale(), quantity.decimals()))};
}

ForestPanel panel_of(const Quantity& quantity) {
  ForestPanel panel;
  panel.title = quantity.title;
  panel.x_label = "difference in " + quantity.unit;
  panel.left_label = quantity.higher_is_better ? "worse" : "better";
  panel.right_label = quantity.higher_is_better ? "better" : "worse";
  panel.unit = quantity.scale();
  return panel;
}

LinePoint line_point(size_t category, const Quantity& quantity, const std::string& name,
                     const Effect& effect) {
  const Interval band = effect.interval.value_or(Interval{effect.value, effect.value});
  return {category, effect.value, band.low, band.high,
          fmt::format("{}: {} [{}, {}]", name, fixed(effect.value, quantity.decimals()),
                      fixed(band.low, quantity.decimals()), fixed(band.high, quantity.decimals()))};
}

LineChart position_chart(const TitledQuantities& positions) {
  LineChart chart;
  chart.x_label = "tokens before the scored one";
  for (const auto& [title, quantity] : positions) chart.categories.push_back(title);
  return chart;
}

constexpr size_t kCurvePoints = 25;

// A series of the training records at the steps that all seeds of the arm logged, their mean.
std::map<int64_t, double> mean_curve(const Arm& arm, const std::string& series) {
  std::map<int64_t, std::vector<double>> by_step;
  size_t seeds = 0;
  for (const ArmRun& run : arm.seeds) {
    if (!run.training || !run.training->ends(series)) continue;
    ++seeds;
    for (const TrainingPoint& point : run.training->curve) {
      const auto it = point.values.find(series);
      if (it != point.values.end()) by_step[point.step].push_back(it->second);
    }
  }
  std::map<int64_t, double> curve;
  for (const auto& [step, values] : by_step) {
    if (values.size() != seeds) continue;
    curve[step] = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(seeds);
  }
  return curve;
}

// At most `most` of them, every n-th, the last among them.
std::vector<int64_t> thinned(const std::vector<int64_t>& steps, size_t most) {
  const size_t stride = (steps.size() + most - 1) / most;
  std::vector<int64_t> kept;
  for (size_t i = 0; i < steps.size(); ++i) {
    if ((steps.size() - 1 - i) % stride == 0) kept.push_back(steps[i]);
  }
  return kept;
}

}  // namespace

std::string effect_figure(const Study& study, const std::vector<Quantity>& quantities) {
  if (!study.factorial || quantities.empty()) return "";
  const std::vector<ArmContrast> contrasts = factorial_contrasts(*study.factorial);
  ForestChart chart;
  chart.cut_outliers = false;
  std::map<std::string, size_t> rows;
  const auto row_of = [&](const std::string& name, const SeriesStyle& style) {
    const auto [it, fresh] = rows.emplace(name, chart.rows.size());
    if (fresh) chart.rows.push_back({name, style});
    return it->second;
  };
  const auto put = [](ForestPanel* panel, size_t row, ForestEntry entry) {
    if (panel->entries.size() <= row) panel->entries.resize(row + 1);
    panel->entries[row] = std::move(entry);
  };
  for (const Quantity& quantity : quantities) {
    ForestPanel panel = panel_of(quantity);
    for (size_t c = 0; c < contrasts.size(); ++c) {
      const SeededEffect effect = seeded_effect(quantity, contrasts[c], study.options);
      if (!effect.mean) continue;
      // The question of a 2x2 is the interaction; its row stands out, its seeds follow.
      const bool interaction = c == 2;
      const SeriesStyle style = interaction ? method_style(1) : method_style(0);
      put(&panel, row_of(effect.name, style), entry_of(quantity, effect.name, *effect.mean));
      if (!interaction || effect.seeds.size() < 2) continue;
      for (const auto& [seed, one] : effect.seeds) {
        const std::string name = fmt::format("interaction, seed {}", seed);
        put(&panel, row_of(name, control_style(0)), entry_of(quantity, name, one));
      }
    }
    chart.panels.push_back(std::move(panel));
  }
  if (chart.rows.empty()) return "";
  for (ForestPanel& panel : chart.panels) panel.entries.resize(chart.rows.size());
  return draw(chart);
}

std::string control_figure(const Study& study, const std::vector<Quantity>& quantities) {
  const std::vector<ArmContrast> contrasts = control_contrasts(study);
  if (contrasts.empty() || quantities.empty()) return "";
  ForestChart chart;
  chart.cut_outliers = false;
  for (const ArmContrast& contrast : contrasts) {
    chart.rows.push_back({contrast.arms[0].first->name, contrast.arms[0].first->style});
  }
  for (const Quantity& quantity : quantities) {
    ForestPanel panel = panel_of(quantity);
    panel.entries.resize(contrasts.size());
    for (size_t c = 0; c < contrasts.size(); ++c) {
      const SeededEffect effect = seeded_effect(quantity, contrasts[c], study.options);
      if (effect.mean) panel.entries[c] = entry_of(quantity, effect.name, *effect.mean);
    }
    chart.panels.push_back(std::move(panel));
  }
  return draw(chart);
}

std::string study_position_figure(const Study& study, const Measure& measure) {
  const TitledQuantities positions = by_position(study, measure);
  if (positions.size() < 2) return "";
  LineChart chart = position_chart(positions);
  chart.title = "Nats per token by position";
  chart.y_label = "nats per token";
  chart.bands = false;
  chart.cut_outliers = true;
  for (const Arm& arm : study.arms) {
    LineSeries series{arm.name, arm.style, {}};
    for (size_t p = 0; p < positions.size(); ++p) {
      const Quantity& quantity = positions[p].second;
      const SeededEffect effect = seeded_effect(quantity, mean_of(arm), study.options);
      if (effect.mean) series.points.push_back(line_point(p, quantity, arm.name, *effect.mean));
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart.series.empty() ? "" : draw(chart);
}

std::string study_position_difference_figure(const Study& study, const Measure& measure) {
  const TitledQuantities positions = by_position(study, measure);
  if (positions.size() < 2) return "";
  LineChart chart = position_chart(positions);
  chart.title = "Difference to the counterpart";
  chart.y_label = "difference in nats per token";
  chart.rule = 0;
  chart.cut_outliers = true;
  for (const Arm& arm : study.arms) {
    const Arm* other = study.counterpart(arm);
    if (other == nullptr) continue;
    const ArmContrast contrast{fmt::format("{} \u2212 {}", arm.name, other->name),
                               {{&arm, 1}, {other, -1}}};
    LineSeries series{arm.name, arm.style, {}};
    for (size_t p = 0; p < positions.size(); ++p) {
      const Quantity& quantity = positions[p].second;
      const SeededEffect effect = seeded_effect(quantity, contrast, study.options);
      if (effect.mean) {
        series.points.push_back(line_point(p, quantity, contrast.name, *effect.mean));
      }
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart.series.empty() ? "" : draw(chart);
}

std::string study_depth_figure(const Study& study, const Quantity& quantity,
                               const std::string& id) {
  const TitledQuantities lengths = by_axis(study, quantity, "length");
  const TitledQuantities depths = by_axis(study, quantity, "depth");
  if (lengths.size() < 2 || depths.size() < 2) return "";
  HeatMaps maps;
  maps.id = id;
  maps.row_label = "depth";
  maps.column_label = "length of the context in tokens";
  maps.value_label = "right answers";
  for (const auto& [title, part] : depths) maps.rows.push_back(title);
  for (const auto& [title, part] : lengths) maps.columns.push_back(title);
  for (const Arm& arm : study.arms) {
    HeatPanel panel;
    panel.title = arm.name;
    bool any = false;
    for (const auto& [depth, row] : depths) {
      for (const auto& [length, column] : lengths) {
        const Quantity cell = row.where(column.filters.back());
        // Only the value is drawn, so no interval is computed for it.
        StatisticsOptions plain = study.options;
        plain.resamples = 1;
        const SeededEffect effect = seeded_effect(cell, mean_of(arm), plain);
        panel.cells.emplace_back();
        if (!effect.mean) continue;
        any = true;
        panel.cells.back() =
            HeatCell{effect.mean->value, static_cast<size_t>(effect.mean->items),
                     fmt::format("{}, depth {}, {} tokens: {} of {} items", arm.name, depth, length,
                                 percent(effect.mean->value), effect.mean->items)};
      }
    }
    if (any) maps.panels.push_back(std::move(panel));
  }
  return maps.panels.empty() ? "" : draw(maps);
}

std::string training_figure(const Study& study, const std::string& series, const std::string& title,
                            const std::string& y_label) {
  std::vector<std::map<int64_t, double>> curves;
  std::set<int64_t> all;
  for (const Arm& arm : study.arms) {
    curves.push_back(mean_curve(arm, series));
    for (const auto& [step, value] : curves.back()) all.insert(step);
  }
  const std::vector<int64_t> steps = thinned({all.begin(), all.end()}, kCurvePoints);
  LineChart chart;
  chart.title = title;
  chart.x_label = "step";
  chart.y_label = y_label;
  chart.bands = false;
  for (size_t i = 0; i < steps.size(); ++i) {
    chart.categories.push_back(i % 4 == 0 ? thousands(steps[i]) : "");
  }
  for (size_t a = 0; a < study.arms.size(); ++a) {
    const Arm& arm = study.arms[a];
    LineSeries line{arm.name, arm.style, {}};
    for (size_t i = 0; i < steps.size(); ++i) {
      const auto it = curves[a].find(steps[i]);
      if (it == curves[a].end()) continue;
      line.points.push_back({i, it->second, it->second, it->second,
                             fmt::format("{}, step {}: {:.4g}", arm.name, steps[i], it->second)});
    }
    if (!line.points.empty()) chart.series.push_back(std::move(line));
  }
  return chart.series.empty() ? "" : draw(chart);
}

}  // namespace kvg::reports
