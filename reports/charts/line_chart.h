#pragma once

#include "reports/charts/palette.h"

#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

struct LinePoint {
  size_t category;  // index into LineChart::categories
  double value;
  double low, high;  // the band; equal to value for none
  std::string note;  // shown on hovering
};

struct LineSeries {
  std::string label;
  SeriesStyle style;
  std::vector<LinePoint> points;  // by category
};

// Lines over ordered categories (position buckets, lengths), labelled at their right ends.
struct LineChart {
  std::string title;
  std::string x_label, y_label;
  std::vector<std::string> categories;
  std::vector<LineSeries> series;
  bool bands = true;                // shaded from low to high
  bool bars = false;                // or an error bar at each point, series side by side
  bool percent = false;             // values are shares, ticks in percent
  std::optional<double> rule;       // a horizontal line to compare with, e.g. 0
  bool cut_outliers = false;        // series far above all others leave the plot at its top
  std::optional<double> low, high;  // of the axis; found from the data otherwise
  double width = 508, height = 300;
};

std::string draw(const LineChart& chart);

}  // namespace kvg::reports
