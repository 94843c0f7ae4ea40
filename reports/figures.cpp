#include "reports/figures.h"

#include "reports/charts/forest_chart.h"
#include "reports/charts/heat_map.h"
#include "reports/charts/line_chart.h"
#include "reports/charts/scatter_chart.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

std::string metric_note(const MethodView& method, const Measure& measure, const Metric& metric) {
  return measure.likelihood
             ? fmt::format("{}: {} {}", method.record->method, fixed(metric.value, 4),
                           interval_text(metric.interval, 1, 4, false))
             : fmt::format("{}: {} {} (n = {})", method.record->method, percent(metric.value),
                           interval_text(metric.interval, 100, 1, false), metric.n);
}

LineChart accuracy_lines(const Digest& digest, const Breakdown& breakdown, const Measure& measure,
                         const std::string& title, const std::string& x_label) {
  LineChart chart;
  chart.title = title;
  chart.x_label = x_label;
  chart.y_label = "right answers";
  chart.percent = true;
  chart.bands = false;
  chart.bars = true;
  chart.low = -0.03;
  chart.high = 1.03;
  chart.categories = breakdown.groups;
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    LineSeries series{digest.methods[m].label, digest.methods[m].style, {}};
    for (size_t g = 0; g < breakdown.groups.size(); ++g) {
      const auto& metric = breakdown.cells[g][m];
      if (!metric) continue;
      const Interval band = metric->interval.value_or(Interval{metric->value, metric->value});
      series.points.push_back({g, metric->value, band.low, band.high,
                               metric_note(digest.methods[m], measure, *metric)});
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

using BucketList = std::vector<Bucket> Likelihood::*;

// Buckets that any row of the measure has, by `from` (the bucket of first occurrences, 0 to 0,
// last).
std::vector<std::pair<int64_t, int64_t>> bucket_ranges(const Digest& digest, const Measure& measure,
                                                       BucketList list) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const Item* item : digest.items(measure, 0)) {
    if (!item->likelihood) continue;
    for (const Bucket& bucket : (*item->likelihood).*list) {
      if (bucket.tokens > 0) ranges.emplace_back(bucket.from, bucket.to);
    }
  }
  const auto order = [](const auto& range) { return std::pair(range.second == 0, range); };
  std::sort(ranges.begin(), ranges.end(),
            [&](const auto& a, const auto& b) { return order(a) < order(b); });
  ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
  return ranges;
}

std::function<const Bucket*(const Item&)> bucket_of(BucketList list,
                                                    std::pair<int64_t, int64_t> range) {
  return [list, range](const Item& item) -> const Bucket* {
    for (const Bucket& bucket : (*item.likelihood).*list) {
      if (std::pair(bucket.from, bucket.to) == range) return &bucket;
    }
    return nullptr;
  };
}

LineChart bucket_chart(const Digest& digest, const Measure& measure, BucketList list) {
  LineChart chart;
  for (const auto& range : bucket_ranges(digest, measure, list)) {
    chart.categories.push_back(range_label(range));
  }
  return chart;
}

LineChart bucket_differences(const Digest& digest, const Measure& measure, BucketList list) {
  LineChart chart = bucket_chart(digest, measure, list);
  const auto ranges = bucket_ranges(digest, measure, list);
  chart.rule = 0;
  chart.cut_outliers = true;
  const ItemRefs reference = digest.items(measure, 0);
  for (size_t m = 1; m < digest.methods.size(); ++m) {
    const Pairs pairs = match(reference, digest.items(measure, m));
    LineSeries series{digest.methods[m].label, digest.methods[m].style, {}};
    for (size_t b = 0; b < ranges.size(); ++b) {
      const auto paired = paired_bucket(pairs, bucket_of(list, ranges[b]), digest.options);
      if (!paired) continue;
      const double value = paired->difference;
      const Interval band = paired->interval.value_or(Interval{value, value});
      series.points.push_back(
          {b, value, band.low, band.high,
           fmt::format("{}, {}: {} {}", digest.methods[m].record->method, chart.categories[b],
                       signed_fixed(value, 4), interval_text(paired->interval, 1, 4, true))});
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace

std::string printed_axis(const std::string& axis, const std::string& value) {
  double number = 0;
  const auto result = std::from_chars(value.data(), value.data() + value.size(), number);
  if (result.ec != std::errc() || result.ptr != value.data() + value.size()) return value;
  if (axis == "depth")
    return percent(number, std::abs(number * 100 - std::round(number * 100)) < 1e-6 ? 0 : 1);
  return number == std::round(number) ? thousands(std::llround(number)) : value;
}

std::string range_label(std::pair<int64_t, int64_t> range) {
  if (range.second == 0) return "new";
  const auto brief = [](int64_t tokens) {
    return tokens >= 1024 && tokens % 1024 == 0 ? fmt::format("{}k", tokens / 1024)
                                                : std::to_string(tokens);
  };
  return fmt::format("{}\u2013{}", brief(range.first), brief(range.second));
}

std::string pareto_figure(const Digest& digest, const Measure& measure, double width) {
  ScatterChart chart;
  chart.width = width;
  chart.title = measure.title;
  chart.x_label = fmt::format("bytes at {} tokens, log scale", thousands(measure.length));
  chart.y_label = measure.likelihood ? "nats per token, lower is better" : "right answers";
  chart.higher_is_better = !measure.likelihood;
  chart.percent = !measure.likelihood;
  if (chart.percent) {
    chart.low = -0.03;
    chart.high = 1.05;
  }
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    const auto& metric = measure.metrics[m];
    const ProvisionedBytes* size = provisioned(*digest.methods[m].record, measure.length);
    if (!metric || size == nullptr || size->bytes.total <= 0) continue;
    const Interval bar = metric->interval.value_or(Interval{metric->value, metric->value});
    chart.points.push_back({digest.methods[m].label, digest.methods[m].style,
                            static_cast<double>(size->bytes.total), metric->value, bar.low,
                            bar.high, metric_note(digest.methods[m], measure, *metric)});
  }
  return chart.points.empty() ? "" : draw(chart);
}

std::string difference_figure(const Digest& digest, const std::vector<const Measure*>& measures) {
  ForestChart chart;
  for (size_t m = 1; m < digest.methods.size(); ++m) {
    chart.rows.push_back({digest.methods[m].label, digest.methods[m].style});
  }
  for (const Measure* measure : measures) {
    ForestPanel panel;
    panel.title = measure->title;
    panel.unit = measure->likelihood ? 1 : 100;
    panel.x_label = measure->likelihood ? "nats per token" : "points";
    panel.left_label = measure->likelihood ? "better" : "worse";
    panel.right_label = measure->likelihood ? "worse" : "better";
    for (size_t m = 1; m < digest.methods.size(); ++m) {
      const auto& contrast = measure->contrasts[m];
      panel.entries.emplace_back();
      if (!contrast) continue;
      const Paired& paired = contrast->paired;
      panel.margin = std::max(panel.margin, contrast->margin);
      const Interval bar = paired.interval.value_or(Interval{paired.difference, paired.difference});
      panel.entries.back() = ForestEntry{
          paired.difference, bar.low, bar.high,
          fmt::format("{} {}",
                      signed_fixed(paired.difference * panel.unit, measure->likelihood ? 3 : 1),
                      verdict_word(contrast->verdict)),
          digest.methods[m].record->method};
    }
    chart.panels.push_back(std::move(panel));
  }
  return chart.rows.empty() || chart.panels.empty() ? "" : draw(chart);
}

namespace {

LineChart bucket_levels(const Digest& digest, const Measure& measure, BucketList list) {
  LineChart chart = bucket_chart(digest, measure, list);
  const auto ranges = bucket_ranges(digest, measure, list);
  chart.y_label = "nats per token";
  chart.bands = false;
  chart.cut_outliers = true;
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    LineSeries series{digest.methods[m].label, digest.methods[m].style, {}};
    const ItemRefs items = digest.items(measure, m);
    for (size_t b = 0; b < ranges.size(); ++b) {
      const auto metric = bucket_nats(items, bucket_of(list, ranges[b]), digest.options);
      if (!metric) continue;
      const Interval band = metric->interval.value_or(Interval{metric->value, metric->value});
      series.points.push_back({b, metric->value, band.low, band.high,
                               metric_note(digest.methods[m], measure, *metric)});
    }
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

constexpr const char* kPositionAxis = "tokens before the scored one";
constexpr const char* kRepeatAxis = "tokens since the same token occurred (new: it had not)";

}  // namespace

std::string position_figure(const Digest& digest, const Measure& measure) {
  LineChart chart = bucket_levels(digest, measure, &Likelihood::positions);
  chart.title = "Nats per token by position";
  chart.x_label = kPositionAxis;
  return chart.series.empty() ? "" : draw(chart);
}

std::string repeat_figure(const Digest& digest, const Measure& measure) {
  LineChart chart = bucket_levels(digest, measure, &Likelihood::repeats);
  chart.title = "Nats per token by repeat distance";
  chart.x_label = kRepeatAxis;
  return chart.series.empty() ? "" : draw(chart);
}

std::string position_difference_figure(const Digest& digest, const Measure& measure) {
  LineChart chart = bucket_differences(digest, measure, &Likelihood::positions);
  chart.title = "Difference to " + digest.reference().label + " by position";
  chart.x_label = kPositionAxis;
  chart.y_label = "nats per token, above 0 is worse";
  return chart.series.empty() ? "" : draw(chart);
}

std::string repeat_difference_figure(const Digest& digest, const Measure& measure) {
  LineChart chart = bucket_differences(digest, measure, &Likelihood::repeats);
  chart.title = "Difference to " + digest.reference().label + " by repeat distance";
  chart.x_label = kRepeatAxis;
  chart.y_label = "nats per token, above 0 is worse";
  return chart.series.empty() ? "" : draw(chart);
}

std::string axis_figure(const Digest& digest, const Measure& measure, const std::string& axis,
                        const std::string& title, const std::string& x_label) {
  Breakdown breakdown = break_down(digest, measure, [&](const Item& item) {
    const auto it = item.cell.find(axis);
    return it == item.cell.end() ? std::string() : it->second;
  });
  for (std::string& group : breakdown.groups) group = printed_axis(axis, group);
  const LineChart chart = accuracy_lines(digest, breakdown, measure, title, x_label);
  return chart.categories.size() < 2 || chart.series.empty() ? "" : draw(chart);
}

std::string strata_figure(const Digest& digest, const Measure& measure, const std::string& stratum,
                          const std::string& title, const std::string& x_label) {
  const Breakdown breakdown = break_down(digest, measure, [&](const Item& item) {
    const auto it = item.strata.find(stratum);
    return it == item.strata.end() ? std::string() : it->second;
  });
  LineChart chart = accuracy_lines(digest, breakdown, measure, title, x_label);
  chart.width = 720;
  return chart.categories.size() < 2 || chart.series.empty() ? "" : draw(chart);
}

std::string depth_figure(const Digest& digest, const Measure& measure) {
  HeatMaps maps;
  maps.row_label = "depth of the evidence";
  maps.column_label = "length in tokens";
  maps.value_label = "right answers";
  maps.id = "heat-" + std::to_string(&measure - digest.measures.data());
  const std::vector<std::string> depths = axis_values(digest, measure, "depth");
  const std::vector<std::string> lengths = axis_values(digest, measure, "length");
  if (depths.empty() || lengths.empty()) return "";
  for (const std::string& depth : depths) maps.rows.push_back(printed_axis("depth", depth));
  for (const std::string& length : lengths) maps.columns.push_back(printed_axis("length", length));
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    std::map<std::pair<std::string, std::string>, ItemRefs> cells;
    for (const Item* item : digest.items(measure, m)) {
      const auto depth = item->cell.find("depth"), length = item->cell.find("length");
      if (depth == item->cell.end() || length == item->cell.end()) continue;
      cells[{depth->second, length->second}].push_back(item);
    }
    if (cells.empty()) continue;
    HeatPanel panel{digest.methods[m].label, {}};
    for (const std::string& depth : depths) {
      for (const std::string& length : lengths) {
        const auto metric = accuracy(cells[{depth, length}], digest.options);
        panel.cells.push_back(
            metric ? std::optional(HeatCell{metric->value, static_cast<size_t>(metric->n),
                                            metric_note(digest.methods[m], measure, *metric)})
                   : std::nullopt);
      }
    }
    maps.panels.push_back(std::move(panel));
  }
  return maps.panels.empty() ? "" : draw(maps);
}

}  // namespace kvg::reports
