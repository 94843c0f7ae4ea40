#include "reports/charts/frame.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace kvg::reports {

void draw_title(Svg& svg, std::string_view title) {
  if (!title.empty()) svg.text(0, 14, title, "ti");
}

void draw_y_axis(Svg& svg, const PlotArea& area, const Scale& scale, const std::vector<Tick>& ticks,
                 std::string_view label) {
  for (const Tick& tick : ticks) {
    const double y = scale(tick.value);
    svg.line(area.left, y, area.right, y, "gr");
    svg.text(area.left - 7, y + 4, tick.label, "tk", "end");
  }
  svg.text(0, area.top - 12, label, "al");
}

void draw_x_axis(Svg& svg, const PlotArea& area, const Scale& scale, const std::vector<Tick>& ticks,
                 std::string_view label) {
  svg.line(area.left, area.bottom, area.right, area.bottom, "ax");
  for (const Tick& tick : ticks) {
    const double x = scale(tick.value);
    svg.line(x, area.bottom, x, area.bottom + 4, "ax");
    svg.text(x, area.bottom + 17, tick.label, "tk", "middle");
  }
  svg.text((area.left + area.right) / 2, area.bottom + 35, label, "al", "middle");
}

double tick_label_width(const std::vector<Tick>& ticks) {
  double width = 0;
  for (const Tick& tick : ticks) width = std::max(width, text_width(tick.label, 11));
  return width;
}

std::vector<Tick> value_ticks(double low, double high, int count, bool percent) {
  const double unit = percent ? 100 : 1;
  std::vector<Tick> ticks = linear_ticks(low * unit, high * unit, count);
  for (Tick& tick : ticks) {
    tick.value /= unit;
    if (percent) tick.label += " %";
  }
  return ticks;
}

std::optional<double> outlier_limit(std::vector<double> reach) {
  std::sort(reach.rbegin(), reach.rend());
  for (size_t far = 1; 2 * far < reach.size(); ++far) {
    if (reach[far] > 0 && reach[far - 1] > 4 * reach[far]) return 1.35 * reach[far];
  }
  return std::nullopt;
}

std::vector<double> spread_apart(std::vector<double> positions, double gap, double low,
                                 double high) {
  std::vector<size_t> order(positions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return positions[a] < positions[b]; });
  // Merge overlapping labels into blocks that sit at the mean of what their members want.
  struct Block {
    double sum_of_tops;  // wanted position of the block's first member, summed over members
    size_t count;
    double top() const { return sum_of_tops / static_cast<double>(count); }
  };
  std::vector<Block> blocks;
  for (const size_t index : order) {
    blocks.push_back({positions[index], 1});
    while (blocks.size() > 1) {
      Block& last = blocks.back();
      Block& before = blocks[blocks.size() - 2];
      const double offset = gap * static_cast<double>(before.count);
      if (last.top() >= before.top() + offset) break;
      before.sum_of_tops += last.sum_of_tops - offset * static_cast<double>(last.count);
      before.count += last.count;
      blocks.pop_back();
    }
  }
  size_t next = 0;
  for (const Block& block : blocks) {
    for (size_t i = 0; i < block.count; ++i) {
      positions[order[next++]] = block.top() + gap * static_cast<double>(i);
    }
  }
  // Push back inside, from the bottom edge and then from the top one.
  double limit = high;
  for (auto it = order.rbegin(); it != order.rend(); ++it, limit -= gap) {
    limit = positions[*it] = std::min(positions[*it], limit);
  }
  limit = low;
  for (const size_t index : order) {
    limit = positions[index] = std::max(positions[index], limit);
    limit += gap;
  }
  return positions;
}

}  // namespace kvg::reports
