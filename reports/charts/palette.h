#pragma once

#include "reports/charts/svg.h"

#include <string>

namespace kvg::reports {

// How one method looks in every chart of a page: a colour (by CSS class, so that it has a light and
// a dark form), a marker and a dash. Colours alone never carry the meaning.
struct SeriesStyle {
  std::string css_class = "m0";  // sets the custom property --c
  int marker = 0;                // see draw_marker
  std::string dash;              // stroke-dasharray or empty
};

// Styles: the reference (full cache) is ink, controls are grey, methods take the colours of Okabe
// and Ito (Color Universal Design, 2008) without its yellow in the order they are asked for; from
// the seventh on colours repeat with a dashed line and an other marker.
SeriesStyle reference_style();
SeriesStyle control_style(int index);
SeriesStyle method_style(int index);

// A filled shape of about 8 pixels centred at (x, y): circle, square, diamond, triangle up,
// triangle down, hexagon; then the same again.
void draw_marker(Svg& svg, double x, double y, const SeriesStyle& style);

// The custom properties behind the classes, for the light and the dark page.
std::string palette_css(bool dark);

}  // namespace kvg::reports
