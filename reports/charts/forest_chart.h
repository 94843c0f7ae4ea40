#pragma once

#include "reports/charts/palette.h"

#include <string>
#include <vector>

namespace kvg::reports {

struct ForestRow {
  std::string label;
  SeriesStyle style;
  double value;
  double low, high;
  std::string text;  // printed at the right, e.g. the verdict
  std::string note;  // shown on hovering
};

// Differences with their intervals against a line at zero and a band of equivalence around it.
struct ForestChart {
  std::string title;
  std::string x_label;
  std::string left_label, right_label;  // what being left or right of zero means
  std::vector<ForestRow> rows;
  double margin = 0;     // the band is +-margin
  bool percent = false;  // values are shares, ticks in points
  double width = 508;
};

std::string draw(const ForestChart& chart);

}  // namespace kvg::reports
