#pragma once

#include <algorithm>
#include <limits>

namespace kvg::reports {

// The smallest range that covers some values; low > high before the first.
struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void cover(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

}  // namespace kvg::reports
