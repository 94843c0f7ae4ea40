#include "reports/charts/line_chart.h"

#include "reports/charts/frame.h"
#include "reports/text.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr size_t kLabelCharacters = 26;

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();

  void cover(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

Range value_range(const LineChart& chart) {
  Range range;
  for (const LineSeries& series : chart.series) {
    for (const LinePoint& point : series.points) {
      range.cover(point.value);
      if (chart.bands) {
        range.cover(point.low);
        range.cover(point.high);
      }
    }
  }
  if (chart.rule) range.cover(*chart.rule);
  if (range.low > range.high) range = {0, 1};
  const double pad = range.high > range.low ? 0.06 * (range.high - range.low) : 0.5;
  range.low = chart.low.value_or(range.low - pad);
  range.high = chart.high.value_or(range.high + pad);
  return range;
}

// Category labels, thinned so that they do not touch.
std::vector<Tick> category_ticks(const LineChart& chart, double spacing) {
  double widest = 0;
  for (const std::string& label : chart.categories) {
    widest = std::max(widest, text_width(label, 11));
  }
  const auto step = static_cast<size_t>((widest + 8) / std::max(spacing, 1.0)) + 1;
  std::vector<Tick> ticks;
  for (size_t i = 0; i < chart.categories.size(); ++i) {
    ticks.push_back({static_cast<double>(i), i % step == 0 ? chart.categories[i] : ""});
  }
  return ticks;
}

void draw_series(Svg& svg, const LineChart& chart, const LineSeries& series, const Scale& x,
                 const Scale& y) {
  svg.open(series.style.css_class);
  std::string line, upper, lower;
  for (size_t i = 0; i < series.points.size(); ++i) {
    const LinePoint& point = series.points[i];
    const std::string at = coordinate(x(static_cast<double>(point.category)));
    line += fmt::format("{}{} {}", i == 0 ? 'M' : 'L', at, coordinate(y(point.value)));
    upper += fmt::format("{}{} {}", i == 0 ? 'M' : 'L', at, coordinate(y(point.high)));
    lower = fmt::format("L{} {}", at, coordinate(y(point.low))) + lower;
  }
  if (chart.bands && series.points.size() > 1) svg.path(upper + lower + "Z", "bd");
  svg.path(
      line, "ln",
      series.style.dash.empty() ? "" : fmt::format("stroke-dasharray=\"{}\"", series.style.dash));
  for (const LinePoint& point : series.points) {
    const double px = x(static_cast<double>(point.category));
    svg.open("pt", point.note);
    if (chart.bands && series.points.size() == 1) {
      svg.line(px, y(point.low), px, y(point.high), "eb");
    }
    draw_marker(svg, px, y(point.value), series.style);
    svg.close();
  }
  svg.close();
}

void draw_labels(Svg& svg, const LineChart& chart, const PlotArea& area, const Scale& x,
                 const Scale& y) {
  std::vector<double> wanted;
  for (const LineSeries& series : chart.series) {
    wanted.push_back(series.points.empty() ? area.bottom : y(series.points.back().value));
  }
  const std::vector<double> placed = spread_apart(wanted, 14, area.top, area.bottom);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const LineSeries& series = chart.series[i];
    if (series.points.empty()) continue;
    svg.open(series.style.css_class);
    const double end = x(static_cast<double>(series.points.back().category));
    svg.path(fmt::format("M{} {}L{} {}L{} {}", coordinate(end + 7), coordinate(wanted[i]),
                         coordinate(area.right + 4), coordinate(wanted[i]),
                         coordinate(area.right + 14), coordinate(placed[i])),
             "ld");
    svg.text(area.right + 18, placed[i] + 4, shorten(series.label, kLabelCharacters), "lt");
    svg.close();
  }
}

}  // namespace

std::string draw(const LineChart& chart) {
  const Range range = value_range(chart);
  const std::vector<Tick> y_ticks = value_ticks(range.low, range.high, 5, chart.percent);
  double label_width = 0;
  for (const LineSeries& series : chart.series) {
    label_width = std::max(label_width, text_width(shorten(series.label, kLabelCharacters), 12));
  }
  const PlotArea area = {tick_label_width(y_ticks) + 12, chart.title.empty() ? 30.0 : 54.0,
                         chart.width - label_width - 22, chart.height - 44};
  const double last = static_cast<double>(std::max<size_t>(chart.categories.size(), 2)) - 1;
  const Scale x = {-0.3, last + 0.3, area.left, area.right, false};
  const Scale y = {range.low, range.high, area.bottom, area.top, false};

  Svg svg(chart.width, chart.height, chart.title + ": " + chart.y_label + " by " + chart.x_label);
  draw_title(svg, chart.title);
  draw_y_axis(svg, area, y, y_ticks, chart.y_label);
  draw_x_axis(svg, area, x, category_ticks(chart, (area.right - area.left) / (last + 0.6)),
              chart.x_label);
  if (chart.rule) svg.line(area.left, y(*chart.rule), area.right, y(*chart.rule), "ru");
  for (const LineSeries& series : chart.series) draw_series(svg, chart, series, x, y);
  draw_labels(svg, chart, area, x, y);
  return svg.finish();
}

}  // namespace kvg::reports
