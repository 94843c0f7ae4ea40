#include "reports/charts/scatter_chart.h"

#include "reports/charts/frame.h"
#include "reports/text.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// Points of nearly the same size share one column of labels beside them.
constexpr double kSameColumn = 60;

struct Label {
  double x, y;
  bool at_right;
};

// Where each point's label stands, by point. Columns stand at the right of their points unless
// there is no room, at the heights of the points as far as labels do not touch.
std::vector<Label> place_labels(const ScatterChart& chart, const PlotArea& area, const Scale& x,
                                const Scale& y) {
  std::vector<size_t> order(chart.points.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto px = [&](size_t index) { return x(chart.points[index].bytes); };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return px(a) < px(b); });
  const std::vector<size_t> front = pareto_front(chart);
  std::vector<Label> labels(chart.points.size());
  for (size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    end = begin + 1;
    while (end < order.size() && px(order[end]) - px(order[end - 1]) < kSameColumn) ++end;
    const std::vector<size_t> column(order.begin() + static_cast<std::ptrdiff_t>(begin),
                                     order.begin() + static_cast<std::ptrdiff_t>(end));
    const double gap = column.size() > 1 ? 18 : 9;
    double width = 0;
    std::vector<double> wanted;
    for (const size_t index : column) {
      width = std::max(width, text_width(chart.points[index].label, 12));
      // The front runs to the right from its points: their labels stand on it.
      const bool on_front = std::find(front.begin(), front.end(), index) != front.end();
      wanted.push_back(y(chart.points[index].value) - (on_front ? 8 : 0));
    }
    const bool at_right = px(column.back()) + gap + width <= chart.width;
    const std::vector<double> placed = spread_apart(wanted, 14, area.top, area.bottom - 8);
    for (size_t i = 0; i < column.size(); ++i) {
      labels[column[i]] = {at_right ? px(column.back()) + gap : px(column.front()) - gap, placed[i],
                           at_right};
    }
  }
  return labels;
}

Scale byte_scale(const ScatterChart& chart, const PlotArea& area) {
  double low = std::numeric_limits<double>::infinity(), high = 0;
  for (const ScatterPoint& point : chart.points) {
    low = std::min(low, point.bytes);
    high = std::max(high, point.bytes);
  }
  if (high <= 0) low = high = 1;
  return {low / 1.35, high * 1.6, area.left, area.right, true};
}

// The axis; points beyond it are drawn at its edge as arrows.
Scale value_scale(const ScatterChart& chart, const PlotArea& area) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const ScatterPoint& point : chart.points) {
    low = std::min({low, point.low, point.value});
    high = std::max({high, point.high, point.value});
  }
  if (low > high) low = 0, high = 1;
  if (!chart.higher_is_better) {
    std::vector<double> reach;
    for (const ScatterPoint& point : chart.points) reach.push_back(point.high - low);
    if (const auto limit = outlier_limit(std::move(reach))) high = low + *limit;
  }
  const double pad = high > low ? 0.08 * (high - low) : 0.5;
  return {chart.low.value_or(low - pad), chart.high.value_or(high + pad), area.bottom, area.top,
          false};
}

void draw_front(Svg& svg, const ScatterChart& chart, const PlotArea& area, const Scale& x,
                const Scale& y) {
  std::string data;
  for (const size_t index : pareto_front(chart)) {
    const ScatterPoint& point = chart.points[index];
    const std::string px = coordinate(x(point.bytes)), py = coordinate(y(point.value));
    data += data.empty() ? fmt::format("M{} {}", px, py) : fmt::format("H{}V{}", px, py);
  }
  if (!data.empty()) svg.path(data + fmt::format("H{}", coordinate(area.right)), "fr");
}

}  // namespace

std::vector<size_t> pareto_front(const ScatterChart& chart) {
  const auto better = [&](double a, double b) { return chart.higher_is_better ? a > b : a < b; };
  std::vector<size_t> order(chart.points.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const ScatterPoint &p = chart.points[a], &q = chart.points[b];
    return p.bytes != q.bytes ? p.bytes < q.bytes : better(p.value, q.value);
  });
  std::vector<size_t> front;
  for (const size_t index : order) {
    if (front.empty() || better(chart.points[index].value, chart.points[front.back()].value)) {
      front.push_back(index);
    }
  }
  return front;
}

std::string draw(const ScatterChart& original) {
  ScatterChart chart = original;
  PlotArea area = {0, chart.title.empty() ? 30.0 : 54.0, chart.width - 12, chart.height - 44};
  const Scale y = value_scale(chart, area);
  const std::vector<Tick> y_ticks = value_ticks(y.low, y.high, 5, chart.percent);
  area.left = tick_label_width(y_ticks) + 12;
  const Scale x = byte_scale(chart, area);
  for (ScatterPoint& point : chart.points) {
    if (point.value <= y.high) continue;
    point.label += fmt::format(" \u2191 {}", fixed(point.value, 2));
    point.value = point.low = point.high = y.high;
    point.style.marker = 3;
  }
  Svg svg(chart.width, chart.height, chart.title + ": " + chart.y_label + " by " + chart.x_label);
  draw_title(svg, chart.title);
  draw_y_axis(svg, area, y, y_ticks, chart.y_label);
  draw_x_axis(svg, area, x, byte_ticks(x.low, x.high), chart.x_label);
  draw_front(svg, chart, area, x, y);
  const std::vector<Label> labels = place_labels(chart, area, x, y);
  for (size_t i = 0; i < chart.points.size(); ++i) {
    const ScatterPoint& point = chart.points[i];
    const Label& label = labels[i];
    const double px = x(point.bytes), py = y(point.value), side = label.at_right ? 1 : -1;
    svg.open(point.style.css_class, point.note);
    svg.line(px, y(std::min(point.high, y.high)), px, y(point.low), "eb");
    if (std::abs(label.x - px) > 10) {
      svg.path(fmt::format("M{} {}L{} {}", coordinate(px + side * 5), coordinate(py),
                           coordinate(label.x - side * 3), coordinate(label.y)),
               "ld");
    }
    draw_marker(svg, px, py, point.style);
    svg.text(label.x, label.y + 4, point.label, "lt", label.at_right ? "start" : "end");
    svg.close();
  }
  return svg.finish();
}

}  // namespace kvg::reports
