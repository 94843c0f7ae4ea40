#pragma once

#include "reports/charts/palette.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kvg::reports {

struct CurvePoint {
  double x, y;
  double low, high;   // error bar; equal to y for none
  std::string label;  // beside the point; "" for none
  std::string note;   // shown on hovering
};

struct Curve {
  std::string label;  // at the right end of the line, or in the legend of points without one
  SeriesStyle style;
  std::vector<CurvePoint> points;  // by growing x when joined
  bool joined = true;
};

// Measurements over a quantity with units, each axis linear or logarithmic.
struct CurveChart {
  std::string title;
  std::string x_label, y_label;
  std::vector<Curve> curves;
  // A line that no point can be above, e.g. a roofline, through these points; y is cut at its top.
  std::vector<std::pair<double, double>> ceiling;
  std::string ceiling_label;
  bool log_x = true, log_y = false;
  bool powers_of_two = false;  // x ticks at 1k, 2k, 4k ... instead of powers of ten
  std::optional<double> low;   // of the y axis
  double width = 508, height = 320;
};

std::string draw(const CurveChart& chart);

// "4.2 T", "512 G", "0.25": a number with its SI prefix, three significant digits.
std::string si_number(double value);

}  // namespace kvg::reports
