#include "reports/charts/heat_map.h"

#include "reports/charts/svg.h"
#include "reports/text.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

using Rgb = std::array<double, 3>;

// Equal steps of falling lightness, yellow over green to blue.
constexpr std::array<Rgb, 6> kStops = {{{253, 246, 214},
                                        {199, 230, 190},
                                        {118, 200, 188},
                                        {54, 152, 190},
                                        {37, 98, 166},
                                        {20, 40, 98}}};

Rgb heat_rgb(double value) {
  const double at = std::clamp(value, 0.0, 1.0) * static_cast<double>(kStops.size() - 1);
  const size_t stop = std::min(static_cast<size_t>(at), kStops.size() - 2);
  const double share = at - static_cast<double>(stop);
  Rgb rgb;
  for (size_t i = 0; i < 3; ++i) {
    rgb[i] = std::round(kStops[stop][i] + share * (kStops[stop + 1][i] - kStops[stop][i]));
  }
  return rgb;
}

// Relative luminance (WCAG 2).
double luminance(const Rgb& rgb) {
  constexpr Rgb kWeights = {0.2126, 0.7152, 0.0722};
  double sum = 0;
  for (size_t i = 0; i < 3; ++i) {
    const double c = rgb[i] / 255;
    sum += kWeights[i] * (c <= 0.03928 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4));
  }
  return sum;
}

struct Grid {
  double cell_width, cell_height, row_label_width, panel_width, panel_height;
  size_t per_row;
};

constexpr double kTitleHeight = 24;
constexpr double kGap = 26;
constexpr double kLeft = 22;  // for the label of the rows

Grid layout(const HeatMaps& maps) {
  Grid grid{};
  for (const std::string& row : maps.rows) {
    grid.row_label_width = std::max(grid.row_label_width, text_width(row, 11) + 8);
  }
  // As few lines of panels as cells of 40 pixels allow, each as full as the others.
  const auto columns = static_cast<double>(std::max<size_t>(maps.columns.size(), 1));
  const size_t panels = std::max<size_t>(maps.panels.size(), 1);
  const double available = maps.width - kLeft + kGap;
  const double narrow = grid.row_label_width + columns * 40 + kGap;
  const size_t fit = std::clamp<size_t>(static_cast<size_t>(available / narrow), 1, panels);
  const size_t lines = (panels + fit - 1) / fit;
  grid.per_row = (panels + lines - 1) / lines;
  const double room = available / static_cast<double>(grid.per_row) - kGap - grid.row_label_width;
  grid.cell_width = std::clamp(room / columns, 34.0, 66.0);
  grid.cell_height = 23;
  grid.panel_width = grid.row_label_width + columns * grid.cell_width;
  grid.panel_height = kTitleHeight + static_cast<double>(maps.rows.size()) * grid.cell_height + 58;
  return grid;
}

void draw_cell(Svg& svg, const HeatMaps& maps, const HeatCell& cell, double x, double y,
               const Grid& grid) {
  svg.open(heat_text_is_white(cell.value) ? "hc hw" : "hc hb", cell.note);
  svg.rect(x, y, grid.cell_width - 1, grid.cell_height - 1, "hr",
           fmt::format("fill=\"{}\"", heat_colour(cell.value)));
  if (cell.n < maps.hatch_below) {
    svg.rect(x, y, grid.cell_width - 1, grid.cell_height - 1, "hh",
             fmt::format("fill=\"url(#{}-{})\"", maps.id,
                         heat_text_is_white(cell.value) ? "light" : "dark"));
  }
  svg.text(x + (grid.cell_width - 1) / 2, y + grid.cell_height / 2 + 3.5,
           fixed(cell.value * 100, 0), "hv", "middle");
  svg.close();
}

void draw_panel(Svg& svg, const HeatMaps& maps, const HeatPanel& panel, double x, double y,
                const Grid& grid) {
  svg.text(x + grid.row_label_width, y + 12, shorten(panel.title, 30), "ti");
  const double top = y + kTitleHeight;
  for (size_t r = 0; r < maps.rows.size(); ++r) {
    const double cell_y = top + static_cast<double>(r) * grid.cell_height;
    svg.text(x + grid.row_label_width - 6, cell_y + grid.cell_height / 2 + 3.5, maps.rows[r], "tk",
             "end");
    for (size_t c = 0; c < maps.columns.size(); ++c) {
      const double cell_x = x + grid.row_label_width + static_cast<double>(c) * grid.cell_width;
      const auto& cell = panel.cells[r * maps.columns.size() + c];
      if (cell) {
        draw_cell(svg, maps, *cell, cell_x, cell_y, grid);
      } else {
        svg.rect(cell_x, cell_y, grid.cell_width - 1, grid.cell_height - 1, "he");
      }
    }
  }
  const double bottom = top + static_cast<double>(maps.rows.size()) * grid.cell_height;
  for (size_t c = 0; c < maps.columns.size(); ++c) {
    const double middle =
        x + grid.row_label_width + (static_cast<double>(c) + 0.5) * grid.cell_width;
    svg.text(middle, bottom + 14, maps.columns[c], "tk", "middle");
  }
}

void draw_legend(Svg& svg, const HeatMaps& maps, double x, double y) {
  constexpr int kSteps = 50;
  constexpr double kWidth = 200;
  svg.text(x, y + 11, maps.value_label, "al");
  const double left = x + text_width(maps.value_label, 11) + 14;
  for (int i = 0; i < kSteps; ++i) {
    svg.rect(left + kWidth * i / kSteps, y, kWidth / kSteps + 0.5, 12, "hr",
             fmt::format("fill=\"{}\"", heat_colour((i + 0.5) / kSteps)));
  }
  for (const double share : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    svg.text(left + share * kWidth, y + 26, percent(share, 0), "tk", "middle");
  }
  const double hatch = left + kWidth + 40;
  svg.rect(hatch, y, 24, 12, "he");
  svg.rect(hatch, y, 24, 12, "hh", fmt::format("fill=\"url(#{}-dark)\"", maps.id));
  svg.text(hatch + 31, y + 10, fmt::format("hatched: fewer than {} items", maps.hatch_below), "al");
}

}  // namespace

std::string heat_colour(double value) {
  const Rgb rgb = heat_rgb(value);
  return fmt::format("#{:02x}{:02x}{:02x}", static_cast<int>(rgb[0]), static_cast<int>(rgb[1]),
                     static_cast<int>(rgb[2]));
}

bool heat_text_is_white(double value) { return 1.05 / (luminance(heat_rgb(value)) + 0.05) > 3.6; }

std::string draw(const HeatMaps& maps) {
  const Grid grid = layout(maps);
  const size_t lines = (maps.panels.size() + grid.per_row - 1) / grid.per_row;
  const double width = kLeft + static_cast<double>(grid.per_row) * (grid.panel_width + kGap) - kGap;
  const double height = static_cast<double>(lines) * grid.panel_height + 46;
  Svg svg(std::max(width, 620.0), height,
          maps.value_label + " by " + maps.row_label + " and " + maps.column_label);
  for (const bool light : {false, true}) {
    svg.raw(fmt::format(
        "<defs><pattern id=\"{}-{}\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" "
        "patternTransform=\"rotate(45)\"><rect width=\"1\" height=\"5\" fill=\"{}\" "
        "fill-opacity=\"{}\"/></pattern></defs>\n",
        maps.id, light ? "light" : "dark", light ? "#ffffff" : "#1c1c1a", light ? 0.4 : 0.3));
  }
  for (size_t i = 0; i < maps.panels.size(); ++i) {
    const double x = kLeft + static_cast<double>(i % grid.per_row) * (grid.panel_width + kGap);
    const double y = static_cast<double>(i / grid.per_row) * grid.panel_height;
    draw_panel(svg, maps, maps.panels[i], x, y, grid);
    const double rows_height = static_cast<double>(maps.rows.size()) * grid.cell_height;
    if (i % grid.per_row == 0) {
      svg.vertical_text(11, y + kTitleHeight + rows_height / 2, maps.row_label, "al");
    }
    svg.text(
        x + grid.row_label_width + static_cast<double>(maps.columns.size()) * grid.cell_width / 2,
        y + kTitleHeight + rows_height + 29, maps.column_label, "al", "middle");
  }
  draw_legend(svg, maps, kLeft, height - 30);
  return svg.finish();
}

}  // namespace kvg::reports
