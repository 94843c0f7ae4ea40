#include "reports/charts/curve_chart.h"

#include "reports/charts/frame.h"
#include "reports/charts/range.h"
#include "reports/text.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

// The range with some room around it; a logarithmic one grows by a factor.
Range padded(Range range, bool logarithmic, std::optional<double> low, double factor) {
  if (range.low > range.high) return {1, 10};
  if (logarithmic) {
    range = {range.low / factor, range.high * factor};
  } else {
    const double pad = range.high > range.low ? 0.08 * (range.high - range.low) : 0.5 * range.high;
    range = {range.low - pad, range.high + pad};
  }
  if (low) range.low = *low;
  if (!(range.high > range.low)) range.high = range.low + 1;
  return range;
}

std::vector<Tick> log_ticks(const Range& range) {
  std::vector<Tick> ticks;
  const bool few = std::log10(range.high / range.low) < 2.2;
  for (double power = std::floor(std::log10(range.low)); power <= std::log10(range.high); ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      const double value = factor * std::pow(10, power);
      if (value < range.low || value > range.high || (factor > 1 && !few)) continue;
      ticks.push_back({value, si_number(value)});
    }
  }
  return ticks;
}

std::vector<Tick> binary_ticks(const Range& range) {
  std::vector<Tick> ticks;
  const double first = std::ceil(std::log2(range.low) - 1e-9);
  const double last = std::floor(std::log2(range.high) + 1e-9);
  const double step = std::max(1.0, std::ceil((last - first + 1) / 8));
  for (double exponent = first; exponent <= last; exponent += step) {
    const double value = std::exp2(exponent);
    ticks.push_back(
        {value, value >= 1024 ? fmt::format("{:g}k", value / 1024) : fmt::format("{:g}", value)});
  }
  return ticks;
}

struct Frame {
  PlotArea area;
  Scale x, y;
  std::vector<Tick> x_ticks, y_ticks;
};

Frame make_frame(const CurveChart& chart) {
  Range x, y;
  for (const Curve& curve : chart.curves) {
    for (const CurvePoint& point : curve.points) {
      x.cover(point.x);
      y.cover(point.y);
      y.cover(point.low);
      y.cover(point.high);
    }
  }
  for (const auto& [at, height] : chart.ceiling) {
    if (height > 0) y.high = std::max(y.high, height);
    x.cover(at);
  }
  x = padded(x, chart.log_x, std::nullopt, chart.ceiling.empty() ? 1.25 : 1);
  y = padded(y, chart.log_y, chart.low, 1.6);
  Frame frame;
  frame.x_ticks = chart.powers_of_two ? binary_ticks(x)
                  : chart.log_x       ? log_ticks(x)
                                      : linear_ticks(x.low, x.high, 5);
  frame.y_ticks = chart.log_y ? log_ticks(y) : linear_ticks(y.low, y.high, 5);
  double label_width = 30;
  for (const Curve& curve : chart.curves) {
    if (curve.joined) label_width = std::max(label_width, text_width(curve.label, 12) + 22);
  }
  frame.area = {tick_label_width(frame.y_ticks) + 12, chart.title.empty() ? 30.0 : 54.0,
                chart.width - label_width, chart.height - 44};
  frame.x = {x.low, x.high, frame.area.left, frame.area.right, chart.log_x};
  frame.y = {y.low, y.high, frame.area.bottom, frame.area.top, chart.log_y};
  return frame;
}

void draw_ceiling(Svg& svg, const CurveChart& chart, const Frame& frame) {
  if (chart.ceiling.empty()) return;
  std::string path;
  for (const auto& [x, y] : chart.ceiling) {
    path += fmt::format("{}{} {}", path.empty() ? 'M' : 'L', coordinate(frame.x(x)),
                        coordinate(frame.y(std::max(y, frame.y.low))));
  }
  svg.path(path, "fr");
  svg.text(frame.x(chart.ceiling.back().first) - 4, frame.y(chart.ceiling.back().second) - 7,
           chart.ceiling_label, "al", "end");
}

// `shift` in pixels, so that error bars of several curves at one x stand side by side.
void draw_curve(Svg& svg, const Curve& curve, const Frame& frame, double shift) {
  svg.open(curve.style.css_class);
  std::string path;
  for (const CurvePoint& point : curve.points) {
    path += fmt::format("{}{} {}", path.empty() ? 'M' : 'L', coordinate(frame.x(point.x) + shift),
                        coordinate(frame.y(point.y)));
  }
  if (curve.joined && curve.points.size() > 1) {
    svg.path(
        path, "ln",
        curve.style.dash.empty() ? "" : fmt::format("stroke-dasharray=\"{}\"", curve.style.dash));
  }
  for (const CurvePoint& point : curve.points) {
    const double x = frame.x(point.x) + shift, y = frame.y(point.y);
    svg.open("pt", point.note);
    if (point.high > point.low) svg.line(x, frame.y(point.low), x, frame.y(point.high), "eb");
    draw_marker(svg, x, y, curve.style);
    svg.close();
  }
  svg.close();
}

// Names beside points, moved up or down by whole lines until they do not touch another name.
void draw_point_labels(Svg& svg, const CurveChart& chart, const Frame& frame) {
  struct Box {
    double left, right, y;
  };
  constexpr double kLine = 12;
  std::vector<Box> taken;
  if (!chart.ceiling.empty()) {
    const double right = frame.x(chart.ceiling.back().first) - 4;
    taken.push_back({right - text_width(chart.ceiling_label, 11.5), right,
                     frame.y(chart.ceiling.back().second) - 11});
  }
  for (const Curve& curve : chart.curves) {
    svg.open(curve.style.css_class);
    for (const CurvePoint& point : curve.points) {
      if (point.label.empty()) continue;
      const double x = frame.x(point.x), width = text_width(point.label, 12);
      const bool at_left = x + 9 + width > chart.width;
      Box box{at_left ? x - 9 - width : x + 9, at_left ? x - 9 : x + 9 + width, 0};
      const auto free = [&](double y) {
        return y >= frame.area.top && y <= frame.area.bottom - 4 &&
               std::none_of(taken.begin(), taken.end(), [&](const Box& other) {
                 return box.left < other.right && other.left < box.right &&
                        std::abs(y - other.y) < kLine;
               });
      };
      box.y = frame.y(point.y);
      for (int step = 1; step < 24 && !free(box.y); ++step) {
        // Down one line, up one, down two ...
        box.y = frame.y(point.y) + kLine * (step % 2 == 1 ? (step + 1) / 2 : -step / 2);
      }
      taken.push_back(box);
      svg.text(at_left ? box.right : box.left, box.y + 4, point.label, "lt",
               at_left ? "end" : "start");
    }
    svg.close();
  }
}

// Names at the right ends of lines, and of the points that have one.
void draw_labels(Svg& svg, const CurveChart& chart, const Frame& frame) {
  std::vector<double> wanted;
  std::vector<const Curve*> named;
  for (const Curve& curve : chart.curves) {
    if (!curve.joined || curve.points.empty()) continue;
    named.push_back(&curve);
    wanted.push_back(frame.y(curve.points.back().y));
  }
  const std::vector<double> placed =
      spread_apart(wanted, 14, frame.area.top, frame.area.bottom - 4);
  for (size_t i = 0; i < named.size(); ++i) {
    svg.open(named[i]->style.css_class);
    const double end = frame.x(named[i]->points.back().x);
    svg.path(fmt::format("M{} {}L{} {}", coordinate(end + 6), coordinate(wanted[i]),
                         coordinate(frame.area.right + 12), coordinate(placed[i])),
             "ld");
    svg.text(frame.area.right + 15, placed[i] + 4, named[i]->label, "lt");
    svg.close();
  }
  draw_point_labels(svg, chart, frame);
}

}  // namespace

std::string si_number(double value) {
  constexpr std::array<const char*, 6> kPrefixes = {"", " k", " M", " G", " T", " P"};
  size_t prefix = 0;
  while (value >= 999.5 && prefix + 1 < kPrefixes.size()) {
    value /= 1000;
    ++prefix;
  }
  return fmt::format("{:.3g}{}", value, kPrefixes[prefix]);
}

std::string draw(const CurveChart& chart) {
  const Frame frame = make_frame(chart);
  Svg svg(chart.width, chart.height, chart.title + ": " + chart.y_label + " by " + chart.x_label);
  draw_title(svg, chart.title);
  draw_y_axis(svg, frame.area, frame.y, frame.y_ticks, chart.y_label);
  draw_x_axis(svg, frame.area, frame.x, frame.x_ticks, chart.x_label);
  draw_ceiling(svg, chart, frame);
  double shift = -2.0 * (static_cast<double>(chart.curves.size()) - 1);
  for (const Curve& curve : chart.curves) {
    draw_curve(svg, curve, frame, curve.joined ? shift : 0);
    shift += 4;
  }
  draw_labels(svg, chart, frame);
  return svg.finish();
}

}  // namespace kvg::reports
