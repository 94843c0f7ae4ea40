#include "reports/charts/stacked_bar_chart.h"

#include "reports/charts/frame.h"
#include "reports/text.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr double kBar = 20, kGap = 26;  // height of a bar, and of the line above it with its name

struct KindColour {
  std::string_view light, dark;
};

// Light and dark take turns, so that neighbours differ in lightness for those who do not see the
// hues: embed, qkv, rope, bank, attention, output, mlp, head, sample, gaps.
constexpr std::array<KindColour, 10> kColours = {{{"#8c8c84", "#8f8f88"},
                                                  {"#8fc1e3", "#3f7ba6"},
                                                  {"#3b6f94", "#a9d3f0"},
                                                  {"#c85200", "#f5874a"},
                                                  {"#f0b27a", "#a3602a"},
                                                  {"#7a4f9a", "#c3a2dc"},
                                                  {"#b9d8a8", "#4f7a3c"},
                                                  {"#3d7a34", "#a5d796"},
                                                  {"#e6a6c8", "#8c4a70"},
                                                  {"#d9d9d0", "#45453f"}}};

struct Legend {
  std::string markup;
  double height = 0;
};

Legend legend_of(const StackedBarChart& chart, double top) {
  std::vector<bool> used(chart.kinds.size(), false);
  for (const StackedBar& bar : chart.bars) {
    for (const StackedSegment& segment : bar.segments) {
      if (segment.value > 0) used[segment.kind] = true;
    }
  }
  Legend legend;
  double x = 0, y = top;
  for (size_t k = 0; k < chart.kinds.size(); ++k) {
    if (!used[k]) continue;
    const double width = text_width(chart.kinds[k], 11.5) + 26;
    if (x + width > chart.width && x > 0) {
      x = 0;
      y += 17;
    }
    legend.markup += fmt::format(
        "<rect class=\"sg {}\" x=\"{}\" y=\"{}\" width=\"10\" height=\"10\"/>"
        "<text class=\"al\" x=\"{}\" y=\"{}\">{}</text>\n",
        kind_style(k), coordinate(x), coordinate(y - 9), coordinate(x + 14), coordinate(y),
        escape_html(chart.kinds[k]));
    x += width;
  }
  legend.height = y - top + 17;
  return legend;
}

void draw_bar(Svg& svg, const StackedBarChart& chart, const StackedBar& bar, const Scale& x,
              double y) {
  double sum = 0;
  for (const StackedSegment& segment : bar.segments) {
    const double from = x(sum);
    sum += segment.value;
    const double width = x(sum) - from;
    if (!(width > 0)) continue;
    svg.open("pt", segment.note);
    svg.rect(from, y, width, kBar, "sg " + kind_style(segment.kind));
    const std::string& name = chart.kinds[segment.kind];
    if (width > text_width(name, 11) + 8) {
      svg.text(from + width / 2, y + kBar - 6, name, "sl " + kind_style(segment.kind), "middle");
    }
    svg.close();
  }
}

}  // namespace

std::string kind_style(size_t index) { return fmt::format("p{}", index % kColours.size()); }

std::string kind_palette_css(bool dark) {
  std::string css;
  for (size_t i = 0; i < kColours.size(); ++i) {
    const std::string_view colour = dark ? kColours[i].dark : kColours[i].light;
    // Ink that reads on the colour: by its luminance, roughly.
    const auto channel = [&](size_t at) {
      return std::stoi(std::string(colour.substr(at, 2)), nullptr, 16);
    };
    const int luminance = 2 * channel(1) + 5 * channel(3) + channel(5);
    css += fmt::format("--p{0}:{1};--q{0}:{2};", i, colour, luminance > 8 * 128 ? "#111" : "#fff");
  }
  return css;
}

std::string draw(const StackedBarChart& chart) {
  double longest = 0, total_width = 0;
  for (const StackedBar& bar : chart.bars) {
    double sum = 0;
    for (const StackedSegment& segment : bar.segments) sum += segment.value;
    longest = std::max(longest, sum);
    total_width = std::max(total_width, text_width(bar.total, 11) + 8);
  }
  if (!(longest > 0)) longest = 1;
  const double top = chart.title.empty() ? 4 : 26;
  const auto count = static_cast<double>(chart.bars.size());
  const PlotArea area = {0, top, chart.width - total_width, top + count * (kBar + kGap) + 4};
  const Legend legend = chart.legend ? legend_of(chart, area.bottom + 58) : Legend{};
  const Scale x = {0, longest, area.left, area.right, false};
  Svg svg(chart.width, area.bottom + 44 + legend.height, chart.title + ": " + chart.x_label);
  draw_title(svg, chart.title);
  draw_x_axis(svg, area, x, linear_ticks(0, longest, 5), chart.x_label);
  double y = top;
  for (const StackedBar& bar : chart.bars) {
    svg.text(0, y + kGap - 7, bar.label, "");
    double sum = 0;
    for (const StackedSegment& segment : bar.segments) sum += segment.value;
    draw_bar(svg, chart, bar, x, y + kGap);
    svg.text(x(sum) + 6, y + kGap + kBar - 6, bar.total, "tk");
    y += kBar + kGap;
  }
  svg.raw(legend.markup);
  return svg.finish();
}

}  // namespace kvg::reports
