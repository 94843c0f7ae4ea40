#include "reports/charts/palette.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr int kColours = 6;
constexpr int kMarkers = 6;

struct Colour {
  std::string_view light, dark;
};

// Blue, vermilion, bluish green, reddish purple, orange, sky blue; the dark page takes each a
// little lighter so that thin lines keep a contrast of 4.5 against its background.
constexpr std::array<Colour, kColours> kMethodColours = {{{"#0067a8", "#58a9e8"},
                                                          {"#c85200", "#f5874a"},
                                                          {"#00825f", "#2fc39b"},
                                                          {"#a8437f", "#de8fbd"},
                                                          {"#9a6c00", "#e3aa35"},
                                                          {"#2f86b5", "#7fd0f5"}}};

}  // namespace

SeriesStyle reference_style() { return {"mf", 0, ""}; }

SeriesStyle control_style(int index) {
  return {"mc", 1 + index % (kMarkers - 1), index % 2 == 0 ? "2 3" : "5 3"};
}

SeriesStyle method_style(int index) {
  const int round = index / kColours;
  return {fmt::format("m{}", index % kColours), (index + 1 + round * 2) % kMarkers,
          round == 0   ? ""
          : round == 1 ? "6 3"
                       : "2 2"};
}

void draw_marker(Svg& svg, double x, double y, const SeriesStyle& style) {
  const auto c = [](double value) { return coordinate(value); };
  std::string data;
  switch (style.marker % kMarkers) {
    case 0:
      data = fmt::format("M{} {}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", c(x - 4), c(y));
      break;
    case 1:
      data = fmt::format("M{} {}h7v7h-7Z", c(x - 3.5), c(y - 3.5));
      break;
    case 2:
      data = fmt::format("M{} {}l5 5l-5 5l-5 -5Z", c(x), c(y - 5));
      break;
    case 3:
      data = fmt::format("M{} {}l4.8 8.4h-9.6Z", c(x), c(y - 5.2));
      break;
    case 4:
      data = fmt::format("M{} {}l4.8 -8.4h-9.6Z", c(x), c(y + 5.2));
      break;
    default:
      data = fmt::format("M{} {}l4 2.3v4.6l-4 2.3l-4 -2.3v-4.6Z", c(x), c(y - 4.6));
  }
  svg.path(data, "mk");
}

std::string palette_css(bool dark) {
  std::string css = dark ? "--mf:#f1f1ee;--mc:#9a9a94;" : "--mf:#1c1c1a;--mc:#77776f;";
  for (size_t i = 0; i < kMethodColours.size(); ++i) {
    css += fmt::format("--m{}:{};", i, dark ? kMethodColours[i].dark : kMethodColours[i].light);
  }
  return css;
}

}  // namespace kvg::reports
