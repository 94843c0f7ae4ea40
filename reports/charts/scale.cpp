#include "reports/charts/scale.h"

#include "reports/text.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kvg::reports {

double Scale::operator()(double value) const {
  const double share = logarithmic ? std::log(std::max(value, 1e-300) / low) / std::log(high / low)
                                   : (value - low) / (high - low);
  return pixel_low + share * (pixel_high - pixel_low);
}

std::vector<Tick> linear_ticks(double low, double high, int count) {
  const double raw = (high - low) / std::max(count, 1);
  if (!(raw > 0) || !std::isfinite(raw)) return {{low, fixed(low, 2)}};
  const double magnitude = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * magnitude;
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * magnitude >= raw * (1 - 1e-9)) {
      step = factor * magnitude;
      break;
    }
  }
  // 2.5 needs one decimal more than its power of ten.
  const bool quarter = std::abs(step / magnitude - 2.5) < 1e-9;
  const int decimals =
      std::clamp(-static_cast<int>(std::floor(std::log10(step) + 1e-9)) + (quarter ? 1 : 0), 0, 9);
  std::vector<Tick> ticks;
  const double first = std::ceil(low / step - 1e-9);
  for (double i = first; i * step <= high + step * 1e-9; ++i) {
    ticks.push_back({i * step, fixed(i * step, decimals)});
  }
  return ticks;
}

std::vector<Tick> byte_ticks(double low, double high) {
  const double decades = std::log10(high / low);
  const std::array<double, 3> factors = {1, 2, 5};
  const size_t used = decades > 3 ? 1 : 3;
  std::vector<Tick> ticks;
  for (double power = std::floor(std::log10(low)); power <= std::log10(high); ++power) {
    for (size_t i = 0; i < used; ++i) {
      const double value = factors[i] * std::pow(10, power);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) {
        std::string label = human_bytes(value);
        // Round sizes need no decimals: "2.00 MB" is "2 MB".
        for (const std::string_view zeros : {".00", ".0"}) {
          if (const size_t at = label.find(zeros); at != std::string::npos) {
            label.erase(at, zeros.size());
          }
        }
        ticks.push_back({value, std::move(label)});
      }
    }
  }
  return ticks;
}

}  // namespace kvg::reports
