#include "reports/charts/forest_chart.h"

#include "reports/charts/frame.h"
#include "reports/text.h"

#include <algorithm>

namespace kvg::reports {

namespace {

constexpr double kRowHeight = 26;
constexpr size_t kLabelCharacters = 28;

void draw_row(Svg& svg, const ForestRow& row, const Scale& x, const PlotArea& area, double y) {
  svg.open(row.style.css_class, row.note);
  svg.text(area.left - 12, y + 4, shorten(row.label, kLabelCharacters), "lt", "end");
  svg.line(x(row.low), y, x(row.high), y, "eb");
  draw_marker(svg, x(row.value), y, row.style);
  svg.close();
  svg.text(area.right + 10, y + 4, row.text, "tk");
}

}  // namespace

std::string draw(const ForestChart& chart) {
  double low = -1.5 * chart.margin, high = 1.5 * chart.margin;
  double labels = 0, texts = 0;
  for (const ForestRow& row : chart.rows) {
    low = std::min({low, row.low, row.value});
    high = std::max({high, row.high, row.value});
    labels = std::max(labels, text_width(shorten(row.label, kLabelCharacters), 12));
    texts = std::max(texts, text_width(row.text, 11));
  }
  const double pad = high > low ? 0.05 * (high - low) : 0.5;
  low -= pad;
  high += pad;
  const double height = 50 + kRowHeight * static_cast<double>(chart.rows.size()) + 44;
  const PlotArea area = {labels + 14, 50, chart.width - texts - 14, height - 44};
  const Scale x = {low, high, area.left, area.right, false};

  Svg svg(chart.width, height, chart.title + ": " + chart.x_label);
  draw_title(svg, chart.title);
  if (chart.margin > 0) {
    const double left = x(-chart.margin);
    svg.rect(left, area.top, x(chart.margin) - left, area.bottom - area.top, "mg");
  }
  const auto ticks = value_ticks(low, high, 4, false);
  for (const Tick& tick : chart.percent ? value_ticks(low, high, 4, true) : ticks) {
    svg.line(x(tick.value), area.top, x(tick.value), area.bottom, "gr");
  }
  svg.line(x(0), area.top - 4, x(0), area.bottom, "ru");
  svg.text(x(0) - 8, area.top - 10, chart.left_label, "tk", "end");
  svg.text(x(0) + 8, area.top - 10, chart.right_label, "tk", "start");
  std::vector<Tick> labelled = chart.percent ? value_ticks(low * 100, high * 100, 4, false) : ticks;
  if (chart.percent) {
    for (Tick& tick : labelled) tick.value /= 100;
  }
  draw_x_axis(svg, area, x, labelled, chart.x_label);
  for (size_t i = 0; i < chart.rows.size(); ++i) {
    draw_row(svg, chart.rows[i], x, area, area.top + kRowHeight * (static_cast<double>(i) + 0.5));
  }
  return svg.finish();
}

}  // namespace kvg::reports
