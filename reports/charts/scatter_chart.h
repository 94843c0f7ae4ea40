#pragma once

#include "reports/charts/palette.h"

#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

struct ScatterPoint {
  std::string label;
  SeriesStyle style;
  double bytes;  // > 0
  double value;
  double low, high;  // error bar
  std::string note;  // shown on hovering
};

// Quality against bytes (logarithmic), with error bars, every point labelled, and a step line
// through the points that no other one beats in both.
struct ScatterChart {
  std::string title;
  std::string x_label, y_label;
  std::vector<ScatterPoint> points;
  bool higher_is_better = true;
  bool percent = false;
  std::optional<double> low, high;  // of the value axis
  double width = 508, height = 330;
};

// Indices of the points on the front, by growing bytes.
std::vector<size_t> pareto_front(const ScatterChart& chart);

std::string draw(const ScatterChart& chart);

}  // namespace kvg::reports
