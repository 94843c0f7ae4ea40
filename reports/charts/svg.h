#pragma once

#include <string>
#include <string_view>

namespace kvg::reports {

// Writes one inline SVG. Coordinates are user units that the page shows as CSS pixels; colours come
// from classes of the page's style sheet, so that one drawing serves light, dark and print.
class Svg {
 public:
  // `label` is what a screen reader says instead of the picture.
  Svg(double width, double height, std::string_view label);

  void line(double x1, double y1, double x2, double y2, std::string_view classes);
  void rect(double x, double y, double width, double height, std::string_view classes,
            std::string_view extra = {});
  void path(std::string_view data, std::string_view classes, std::string_view extra = {});
  // `anchor` is start, middle or end; `y` is the baseline.
  void text(double x, double y, std::string_view content, std::string_view classes,
            std::string_view anchor = "start");
  // Text that reads upwards, centred at (x, y).
  void vertical_text(double x, double y, std::string_view content, std::string_view classes);

  // Everything until close() belongs together; `tooltip`, when not empty, shows on hovering.
  void open(std::string_view classes, std::string_view tooltip = {});
  void close();
  // Ready-made markup, for definitions.
  void raw(std::string_view markup) { out_ += markup; }

  // The finished element; call once.
  std::string finish();

 private:
  std::string out_;
};

// A coordinate with at most two decimals, no trailing zeros.
std::string coordinate(double value);

// Width of `text` at `size` pixels in the widest of the page's fonts (others take up to 15 % less):
// for placing labels.
double text_width(std::string_view text, double size = 12);

}  // namespace kvg::reports
