#include "reports/charts/line_chart.h"

#include "reports/charts/frame.h"
#include "reports/charts/range.h"
#include "reports/text.h"

#include <algorithm>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr size_t kLabelCharacters = 26;

Range value_range(const LineChart& chart) {
  Range range;
  for (const LineSeries& series : chart.series) {
    for (const LinePoint& point : series.points) {
      range.cover(point.value);
      if (chart.bands || chart.bars) {
        range.cover(point.low);
        range.cover(point.high);
      }
    }
  }
  if (chart.rule) range.cover(*chart.rule);
  if (chart.cut_outliers) {
    std::vector<double> reach;
    for (const LineSeries& series : chart.series) {
      Range own;
      for (const LinePoint& point : series.points) own.cover(point.value);
      reach.push_back(
          std::max(own.high - std::max(range.low, chart.rule.value_or(range.low)), 0.0));
    }
    const double base = std::max(range.low, chart.rule.value_or(range.low));
    if (const auto limit = outlier_limit(std::move(reach))) range.high = base + *limit;
  }
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

// The line through the points, left out where it is above the plot.
std::string line_path(const LineSeries& series, const Scale& x, const Scale& y) {
  std::string path;
  bool down = false;  // the pen is on the paper
  const auto go = [&](double category, double value) {
    path += fmt::format("{}{} {}", down ? 'L' : 'M', coordinate(x(category)), coordinate(y(value)));
    down = true;
  };
  for (size_t i = 0; i < series.points.size(); ++i) {
    const LinePoint& to = series.points[i];
    const auto to_x = static_cast<double>(to.category);
    if (i > 0) {
      const LinePoint& from = series.points[i - 1];
      if ((from.value > y.high) != (to.value > y.high)) {
        const auto from_x = static_cast<double>(from.category);
        const double share = (y.high - from.value) / (to.value - from.value);
        go(from_x + share * (to_x - from_x), y.high);
        down = from.value > y.high;
      }
    }
    if (to.value <= y.high) go(to_x, to.value);
  }
  return path;
}

std::string band_path(const LineSeries& series, const Scale& x, const Scale& y) {
  std::string upper, lower;
  for (const LinePoint& point : series.points) {
    const std::string at = coordinate(x(static_cast<double>(point.category)));
    upper += fmt::format("{}{} {}", upper.empty() ? 'M' : 'L', at,
                         coordinate(y(std::min(point.high, y.high))));
    lower = fmt::format("L{} {}", at, coordinate(y(std::min(point.low, y.high)))) + lower;
  }
  return upper + lower + "Z";
}

void draw_series(Svg& svg, const LineChart& chart, const LineSeries& series, const Scale& x,
                 const Scale& y) {
  svg.open(series.style.css_class);
  if (chart.bands && !chart.bars && series.points.size() > 1)
    svg.path(band_path(series, x, y), "bd");
  svg.path(
      line_path(series, x, y), "ln",
      series.style.dash.empty() ? "" : fmt::format("stroke-dasharray=\"{}\"", series.style.dash));
  for (const LinePoint& point : series.points) {
    if (point.value > y.high) continue;
    const double px = x(static_cast<double>(point.category));
    svg.open("pt", point.note);
    if (chart.bars || (chart.bands && series.points.size() == 1)) {
      svg.line(px, y(point.low), px, y(point.high), "eb");
    }
    draw_marker(svg, px, y(point.value), series.style);
    svg.close();
  }
  svg.close();
}

// What stands at the right end of a series; one that leaves the plot says where it goes.
std::string end_label(const LineSeries& series, double limit) {
  const std::string name = shorten(series.label, kLabelCharacters);
  if (series.points.empty() || series.points.back().value <= limit) return name;
  return fmt::format("{} \u2191 {}", name, fixed(series.points.back().value, 2));
}

void draw_labels(Svg& svg, const LineChart& chart, const PlotArea& area, const Scale& x,
                 const Scale& y) {
  std::vector<double> wanted;
  for (const LineSeries& series : chart.series) {
    wanted.push_back(series.points.empty() ? area.bottom
                                           : std::max(y(series.points.back().value), area.top));
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
    svg.text(area.right + 18, placed[i] + 4, end_label(series, y.high), "lt");
    svg.close();
  }
}

}  // namespace

std::string draw(const LineChart& chart) {
  const Range range = value_range(chart);
  const std::vector<Tick> y_ticks = value_ticks(range.low, range.high, 5, chart.percent);
  double label_width = 0;
  for (const LineSeries& series : chart.series) {
    label_width = std::max(label_width, text_width(end_label(series, range.high), 12));
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
  // Bars of several series at one category stand side by side.
  const double room = (area.right - area.left) / (last + 0.6);
  const double step = std::min(6.0, 0.5 * room / static_cast<double>(chart.series.size() + 1));
  double shift = -0.5 * step * (static_cast<double>(chart.series.size()) - 1);
  for (const LineSeries& series : chart.series) {
    Scale own = x;
    if (chart.bars) {
      own.pixel_low += shift;
      own.pixel_high += shift;
      shift += step;
    }
    draw_series(svg, chart, series, own, y);
  }
  draw_labels(svg, chart, area, x, y);
  return svg.finish();
}

}  // namespace kvg::reports
