#include "bench/latency/interval_cost.h"

#include "base/random.h"
#include "bench/latency/bench_common.h"
#include "bench/latency/ceilings.h"
#include "kernels/decode.h"

#include <algorithm>
#include <vector>

namespace kvg {

namespace {

constexpr int64_t kPairs = 128;  // of a norm and a product: an interval each
constexpr int kReplays = 15;

}  // namespace

const char* IntervalCost::method() {
  return "cost of a timed interval: in prefill what an empty one takes; in decode (time of 256 "
         "norms and output projections of the model, recorded and each timed, less the same "
         "recorded without timing) / 256, median of 15";
}

double IntervalCost::step(int64_t rows) {
  if (ops_.device() == Device::cpu) return 0;
  const auto known = steps_.find(rows);
  return known != steps_.end() ? known->second : steps_[rows] = measure(rows);
}

double IntervalCost::measure(int64_t rows) {
  const ModelConfig& config = weights_.config;
  const DType type = ops_.activation();
  const auto memory = ops_.allocate(
      static_cast<size_t>(rows * (3 * config.hidden + config.q_width())) * dtype_size(type));
  auto* at = static_cast<char*>(memory->data());
  const auto place = [&](int64_t width) {
    const Tensor tensor(at, type, ops_.device(), {rows, width});
    at += tensor.bytes();
    return tensor;
  };
  const Tensor x = place(config.hidden), normed = place(config.hidden),
               delta = place(config.hidden), mixed = place(config.q_width());
  Random random(mix_seed({name_seed("interval cost")}));
  std::vector<float> values(static_cast<size_t>(rows * config.q_width()));
  for (float& value : values) value = static_cast<float>(random.uniform() * 2 - 1);
  ops_.upload(Tensor(values.data(), DType::f32, Device::cpu, {rows, config.q_width()}), mixed);

  const auto chain = [&] {
    for (int64_t i = 0; i < kPairs; ++i) {
      const LayerWeights& layer = weights_.layers[static_cast<size_t>(i % config.layers)];
      ops_.phase(Phase::qkv, static_cast<int>(i));
      ops_.rms_norm({x, delta, layer.attention_norm, config.rms_eps, normed});
      ops_.phase(Phase::output, static_cast<int>(i));
      // Reads the norm's result where shapes allow, so that one waits for the other.
      const bool chained = config.q_width() == config.hidden;
      ops_.linear({chained ? normed : mixed, layer.output, layer.output_bias, delta});
    }
  };
  ops_.trace({});
  const auto plain = ops_.record(chain);
  ops_.trace({.times = true, .stride = 1, .offset = 0});
  const auto traced = ops_.record(chain);
  std::vector<double> without, with;
  int64_t intervals = 1;
  for (int replay = 0; replay <= kReplays; ++replay) {
    const double seconds = timed(ops_, [&] {
      for (int i = 0; i < 4; ++i) plain->replay();
    });
    traced->replay();
    ops_.synchronize();
    const PhaseLedger ledger = ops_.take_ledger();
    if (replay == 0) continue;  // the first replay also loads
    double sum = 0;
    intervals = 0;
    for (const PhaseWork& work : ledger) {
      sum += work.seconds;
      intervals += work.intervals;
    }
    without.push_back(seconds / 4);
    with.push_back(sum);
  }
  ops_.trace({});
  return std::max(
      0.0, (median(with) - median(without)) / static_cast<double>(std::max<int64_t>(1, intervals)));
}

}  // namespace kvg
