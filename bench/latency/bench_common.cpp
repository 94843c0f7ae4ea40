#include "bench/latency/bench_common.h"

#include "base/random.h"

#include <algorithm>
#include <numeric>

namespace kvg {

uint64_t working_bytes(const Weights& weights, const Ops& ops, int64_t rows) {
  const ModelConfig& config = weights.config;
  const int64_t width = 4 * config.hidden + config.fused_width() +
                        (config.streams() + 1) * config.q_width() + 2 * config.kv_width() +
                        3 * config.ffn;
  const int64_t logits = std::min<int64_t>(rows, 128) * config.vocab;
  return static_cast<uint64_t>(rows * width) * dtype_size(ops.activation()) +
         static_cast<uint64_t>(logits) * dtype_size(wide(ops.activation()));
}

std::vector<size_t> shuffled(size_t count, uint64_t seed, int64_t round) {
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  Random random(mix_seed({seed, name_seed("order"), static_cast<uint64_t>(round)}));
  for (size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

double median(std::vector<double> values) {
  KVG_CHECK(!values.empty(), "a median needs values");
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

double quantile(std::vector<double> values, double q) {
  KVG_CHECK(!values.empty() && q >= 0 && q <= 1, "a quantile needs values, and 0 <= q <= 1");
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(place);
  const size_t high = std::min(low + 1, values.size() - 1);
  return values[low] + (place - static_cast<double>(low)) * (values[high] - values[low]);
}

}  // namespace kvg
