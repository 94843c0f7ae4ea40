#include "reports/charts/forest_chart.h"

#include "reports/charts/frame.h"
#include "reports/text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr double kRowHeight = 28;
constexpr double kTop = 62;
constexpr double kBottom = 44;
constexpr double kGap = 26;
constexpr size_t kLabelCharacters = 30;

// The axis covers zero, the margin and all intervals, those of values far out excepted.
Scale panel_scale(const ForestPanel& panel, bool cut, double left, double right) {
  double low = -1.5 * panel.margin, high = 1.5 * panel.margin;
  std::vector<double> below, above;
  for (const auto& entry : panel.entries) {
    if (!entry) continue;
    below.push_back(std::max(-std::min(entry->low, entry->value), 0.0));
    above.push_back(std::max(std::max(entry->high, entry->value), 0.0));
  }
  const auto farthest = [](const std::vector<double>& reach) {
    return reach.empty() ? 0.0 : *std::max_element(reach.begin(), reach.end());
  };
  const auto limit = [&](const std::vector<double>& reach) {
    return (cut ? outlier_limit(reach) : std::nullopt).value_or(farthest(reach));
  };
  low = std::min(low, -limit(below));
  high = std::max(high, limit(above));
  const double pad = high > low ? 0.06 * (high - low) : 0.5;
  return {low - pad, high + pad, left, right, false};
}

void draw_entry(Svg& svg, const ForestEntry& entry, const SeriesStyle& style, const Scale& x,
                double y) {
  svg.open(style.css_class, entry.note);
  const double low = std::clamp(entry.low, x.low, x.high);
  const double high = std::clamp(entry.high, x.low, x.high);
  svg.line(x(low), y, x(high), y, "eb");
  if (entry.value > x.high || entry.value < x.low) {
    const double sign = entry.value > x.high ? 1 : -1;
    const double tip = sign > 0 ? x.pixel_high : x.pixel_low;
    svg.line(tip - sign * 22, y, tip, y, "eb");
    svg.path(fmt::format("M{} {}l{} -4.5v9Z", coordinate(tip + sign * 4), coordinate(y),
                         coordinate(-sign * 9)),
             "mk");
  } else {
    draw_marker(svg, x(entry.value), y, style);
  }
  svg.close();
}

void draw_panel(Svg& svg, const ForestChart& chart, const ForestPanel& panel, double left,
                double right) {
  double texts = 0;
  for (const auto& entry : panel.entries) {
    if (entry) texts = std::max(texts, text_width(entry->text, 11));
  }
  const double bottom = kTop + kRowHeight * static_cast<double>(chart.rows.size());
  const PlotArea area = {left, kTop, right - texts - 10, bottom};
  const Scale x = panel_scale(panel, chart.cut_outliers, area.left, area.right);
  svg.text(left, 14, panel.title, "ti");
  if (panel.margin > 0) {
    const double edge = x(-panel.margin);
    svg.rect(edge, area.top, x(panel.margin) - edge, bottom - area.top, "mg");
  }
  std::vector<Tick> ticks = linear_ticks(x.low * panel.unit, x.high * panel.unit, 3);
  for (Tick& tick : ticks) {
    tick.value /= panel.unit;
    svg.line(x(tick.value), area.top, x(tick.value), bottom, "gr");
  }
  svg.line(x(0), area.top - 6, x(0), bottom, "ru");
  // Each side's meaning stands on its side, unless there is no room for it.
  const double zero = x(0);
  if (zero - area.left > text_width(panel.left_label, 11)) {
    svg.text(zero - 7, area.top - 9, panel.left_label, "tk", "end");
  }
  if (right - zero > text_width(panel.right_label, 11) + 8) {
    svg.text(zero + 7, area.top - 9, panel.right_label, "tk", "start");
  }
  draw_x_axis(svg, area, x, ticks, panel.x_label);
  for (size_t i = 0; i < chart.rows.size(); ++i) {
    const double y = kTop + kRowHeight * (static_cast<double>(i) + 0.5);
    if (!panel.entries[i]) continue;
    draw_entry(svg, *panel.entries[i], chart.rows[i].style, x, y);
    svg.text(right, y + 4, panel.entries[i]->text, "tk", "end");
  }
}

}  // namespace

std::string draw(const ForestChart& chart) {
  double labels = 0;
  for (const ForestRow& row : chart.rows) {
    labels = std::max(labels, text_width(shorten(row.label, kLabelCharacters), 12));
  }
  const double height = kTop + kRowHeight * static_cast<double>(chart.rows.size()) + kBottom;
  Svg svg(chart.width, height, "differences to the reference with their intervals");
  for (size_t i = 0; i < chart.rows.size(); ++i) {
    const double y = kTop + kRowHeight * (static_cast<double>(i) + 0.5);
    svg.open(chart.rows[i].style.css_class);
    svg.text(labels, y + 4, shorten(chart.rows[i].label, kLabelCharacters), "lt", "end");
    svg.close();
  }
  const auto panels = static_cast<double>(std::max<size_t>(chart.panels.size(), 1));
  const double left = labels + 18;
  const double width = (chart.width - left + kGap) / panels - kGap;
  for (size_t p = 0; p < chart.panels.size(); ++p) {
    const double start = left + static_cast<double>(p) * (width + kGap);
    draw_panel(svg, chart, chart.panels[p], start, start + width);
  }
  return svg.finish();
}

}  // namespace kvg::reports
