#include "bench/kernels/regime.h"

#include "base/error.h"
#include "base/names.h"

#include <algorithm>
#include <array>

namespace kvg {

namespace {

constexpr std::array kRegimes = {
    // Back to back, as in a long prefill: power and clocks are where the power limit lets them be.
    // Clocks swing for a second or two after work begins.
    Regime{"busy", 10e-3, 0.5, 0.8, 0, 25, 0.3},
    // One launch (a handful of those that take less than 0.1 ms), then a rest: the device stays
    // far below its power limit, and clocks where they are without one. What went before may have
    // lowered them for a moment.
    Regime{"cool", 100e-6, 0.5, 0, 4, 15, 0.3},
};

}  // namespace

Regime plain_regime() { return {"", 400e-6, 0, 0, 0, 15, 0}; }

std::vector<Regime> parse_regimes(const std::string& text) {
  if (text.empty()) return {plain_regime()};
  std::vector<Regime> regimes;
  for (const std::string& name : split(text, ',')) {
    const auto found = std::find_if(kRegimes.begin(), kRegimes.end(),
                                    [&](const Regime& regime) { return regime.name == name; });
    if (found == kRegimes.end()) {
      throw Error("--regime", "", "'" + name + "'", "busy, cool or busy,cool");
    }
    regimes.push_back(*found);
  }
  return regimes;
}

}  // namespace kvg
