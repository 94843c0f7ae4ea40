#include "reports/charts/scatter_chart.h"

#include "reports/charts/frame.h"
#include "reports/text.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

struct Box {
  double left, top, right, bottom;
};

double overlap(const Box& a, const Box& b) {
  const double width = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double height = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return width > 0 && height > 0 ? width * height : 0;
}

// Puts every label beside its point where it covers least of the points, of the error bars and of
// the labels already placed. Greedy; the first candidates are the most natural places.
std::vector<Box> place_labels(const ScatterChart& chart, const PlotArea& area, const Scale& x,
                              const Scale& y) {
  std::vector<Box> taken;
  for (const ScatterPoint& point : chart.points) {
    const double px = x(point.bytes), py = y(point.value);
    taken.push_back({px - 6, py - 6, px + 6, py + 6});
    taken.push_back({px - 2, y(point.high), px + 2, y(point.low)});
  }
  // The front is a lesser obstacle: labels have a halo.
  std::vector<Box> lines;
  const std::vector<size_t> front = pareto_front(chart);
  for (size_t i = 0; i < front.size(); ++i) {
    const double py = y(chart.points[front[i]].value);
    const double end = i + 1 < front.size() ? x(chart.points[front[i + 1]].bytes) : area.right;
    lines.push_back({x(chart.points[front[i]].bytes), py - 2, end, py + 2});
  }
  std::vector<Box> placed;
  for (const ScatterPoint& point : chart.points) {
    const double px = x(point.bytes), py = y(point.value);
    const double width = text_width(point.label, 12);
    Box best{};
    double best_cost = std::numeric_limits<double>::infinity();
    for (const double dy : {0.0, -13.0, 13.0, -26.0, 26.0, -39.0, 39.0}) {
      for (const int side : {1, -1, 0}) {
        if (side == 0 && dy == 0) continue;
        const double left = side == 1 ? px + 9 : side == -1 ? px - 9 - width : px - width / 2;
        const Box box = {left, py + dy - 7, left + width, py + dy + 7};
        double cost = 0.4 * std::abs(dy) + (side == 1 ? 0 : 2);
        for (const Box& other : taken) cost += 4 * overlap(box, other);
        for (const Box& line : lines) cost += 0.05 * overlap(box, line);
        const double outside =
            std::max(area.left - box.left, 0.0) + std::max(box.right - chart.width, 0.0) +
            std::max(area.top - 8 - box.top, 0.0) + std::max(box.bottom - area.bottom, 0.0);
        cost += 40 * outside;
        if (cost < best_cost) {
          best_cost = cost;
          best = box;
        }
      }
    }
    placed.push_back(best);
    taken.push_back(best);
  }
  return placed;
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
  const std::vector<Box> labels = place_labels(chart, area, x, y);
  for (size_t i = 0; i < chart.points.size(); ++i) {
    const ScatterPoint& point = chart.points[i];
    const double px = x(point.bytes);
    svg.open(point.style.css_class, point.note);
    svg.line(px, y(std::min(point.high, y.high)), px, y(point.low), "eb");
    draw_marker(svg, px, y(point.value), point.style);
    svg.text(labels[i].left, labels[i].bottom - 3, point.label, "lt");
    svg.close();
  }
  return svg.finish();
}

}  // namespace kvg::reports
