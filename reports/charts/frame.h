#pragma once

#include "reports/charts/scale.h"
#include "reports/charts/svg.h"

#include <optional>
#include <string_view>
#include <vector>

namespace kvg::reports {

// The rectangle that data may use, in pixels.
struct PlotArea {
  double left, top, right, bottom;
};

// Title above the plot, at the left edge of the drawing.
void draw_title(Svg& svg, std::string_view title);

// Horizontal grid lines with their labels at the left, and what the axis measures above them.
void draw_y_axis(Svg& svg, const PlotArea& area, const Scale& scale, const std::vector<Tick>& ticks,
                 std::string_view label);

// The base line, tick labels below it, and what the axis measures below those.
void draw_x_axis(Svg& svg, const PlotArea& area, const Scale& scale, const std::vector<Tick>& ticks,
                 std::string_view label);

// Room at the left for the labels of `ticks`.
double tick_label_width(const std::vector<Tick>& ticks);

// A value as ticks print it: shares in percent, others with `decimals`.
std::vector<Tick> value_ticks(double low, double high, int count, bool percent);

// Where to cut an axis so that a few series far out do not flatten all others: 1.35 times the
// largest of the rest, when those far out (fewer than half) are over 4 times as far. `reach`: how
// far each series goes from the end of the axis, 0 or more.
std::optional<double> outlier_limit(std::vector<double> reach);

// Moves `positions` as little as needed so that neighbours are at least `gap` apart and all stay in
// [low, high] (when they fit). Keeps their order.
std::vector<double> spread_apart(std::vector<double> positions, double gap, double low,
                                 double high);

}  // namespace kvg::reports
