#pragma once

#include <cmath>
#include <span>

namespace kvg {

// A ledger of times closes when its parts meet their total, measured without them, within this
// share of it.
inline constexpr double kClosureLimit = 0.03;

// |sum of parts - total| / total; total > 0.
inline double ledger_closure(std::span<const double> parts, double total) {
  double sum = 0;
  for (const double part : parts) sum += part;
  return std::abs(sum - total) / total;
}

}  // namespace kvg
