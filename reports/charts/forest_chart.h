#pragma once

#include "reports/charts/palette.h"

#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

struct ForestRow {
  std::string label;
  SeriesStyle style;
};

struct ForestEntry {
  double value;
  double low, high;
  std::string text;  // printed at the right, e.g. the value and the verdict
  std::string note;  // shown on hovering
};

struct ForestPanel {
  std::string title;
  std::string x_label;
  std::string left_label, right_label;              // what being left or right of zero means
  std::vector<std::optional<ForestEntry>> entries;  // [rows]
  double margin = 0;                                // the band of equivalence is +-margin
  double unit = 1;                                  // ticks print value * unit
};

// Differences with their intervals against a line at zero and a band of equivalence around it;
// panels side by side share their rows. Values far out end in an arrow at the edge.
struct ForestChart {
  std::vector<ForestRow> rows;
  std::vector<ForestPanel> panels;
  bool cut_outliers = true;  // otherwise the axis covers every interval
  double width = 1040;
};

std::string draw(const ForestChart& chart);

}  // namespace kvg::reports
