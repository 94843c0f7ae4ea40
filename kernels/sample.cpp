#include "kernels/sample.h"

#include "base/random.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace kvg {

int32_t choose_token(std::span<const float> logits, double temperature, double top_p, uint64_t seed,
                     int64_t position) {
  const auto largest = std::max_element(logits.begin(), logits.end(), [](float a, float b) {
    return std::isnan(a) ? !std::isnan(b) : a < b;  // NaN is the smallest
  });
  if (largest == logits.end() || !std::isfinite(*largest)) return -1;
  if (temperature <= 0) return static_cast<int32_t>(largest - logits.begin());

  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&logits](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  std::vector<double> weights(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double logit = logits[static_cast<size_t>(order[i])];
    weights[i] = std::isnan(logit) ? 0 : std::exp((logit - *largest) / temperature);
    total += weights[i];
  }
  // The nucleus: as few of the most probable tokens as reach top_p, at least one.
  size_t kept = 0;
  double mass = 0;
  while (kept < weights.size() && (kept == 0 || mass < top_p * total)) mass += weights[kept++];

  Random random(mix_seed({seed, name_seed("sample"), static_cast<uint64_t>(position)}));
  double draw = random.uniform() * mass;
  for (size_t i = 0; i < kept; ++i) {
    draw -= weights[i];
    if (draw < 0) return order[i];
  }
  return order[kept - 1];
}

}  // namespace kvg
