#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kvg::reports {

struct HeatCell {
  double value;  // in [0, 1]
  size_t n;
  std::string note;  // shown on hovering
};

struct HeatPanel {
  std::string title;
  std::vector<std::optional<HeatCell>> cells;  // [rows, columns]
};

// Small multiples of shares over the same rows and columns, with one legend. A cell prints its
// value in percent; cells of fewer than `hatch_below` items are hatched.
struct HeatMaps {
  std::string row_label, column_label, value_label;
  std::vector<std::string> rows, columns;
  std::vector<HeatPanel> panels;
  size_t hatch_below = 20;
  double width = 1040;
  std::string id = "heat";  // unique in the page: names the hatch pattern
};

std::string draw(const HeatMaps& maps);

// The sequential scale: 0 is pale yellow, 1 is dark blue, lightness falls all the way (readable in
// grey and with any colour vision). "#rrggbb".
std::string heat_colour(double value);

// Whether white text has contrast enough on heat_colour(value); black has otherwise.
bool heat_text_is_white(double value);

}  // namespace kvg::reports
