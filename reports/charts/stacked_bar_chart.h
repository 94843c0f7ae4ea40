#pragma once

#include "reports/charts/svg.h"

#include <string>
#include <vector>

namespace kvg::reports {

struct StackedSegment {
  size_t kind;       // index into StackedBarChart::kinds
  double value;      // >= 0
  std::string note;  // shown on hovering
};

struct StackedBar {
  std::string label;
  std::string total;  // printed at the end of the bar
  std::vector<StackedSegment> segments;
};

// Horizontal bars made of parts, one above the other on a common axis that starts at 0. What is not
// wide enough for its name inside is told by the legend. Kinds take the colours of `kind_style`.
struct StackedBarChart {
  std::string title;
  std::string x_label;
  std::vector<std::string> kinds;
  std::vector<StackedBar> bars;
  bool legend = true;
  double width = 508;
};

// The CSS class of the index-th kind, and the custom properties behind the classes.
std::string kind_style(size_t index);
std::string kind_palette_css(bool dark);

std::string draw(const StackedBarChart& chart);

}  // namespace kvg::reports
