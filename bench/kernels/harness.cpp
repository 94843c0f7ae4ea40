#include "bench/kernels/harness.h"

#include "base/error.h"
#include "bench/gpu_sampler.h"
#include "bench/kernels/turns.h"
#include "bench/latency/bench_common.h"
#include "kernels/cuda/error.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <benchmark/benchmark.h>

namespace kvg {

namespace {

constexpr int64_t kAloneRound = -1000000;  // a seed of an order that no round has

// What the launches of one issue declare.
void declared(Workbench& bench, const Subject& subject, int64_t* bytes, int64_t* flops) {
  const auto memory = make_device_tensors(bench.context, 3);
  const Work work = subject.make(*memory);
  bench.context.trace({});
  work.issue();
  for (const PhaseWork& phase : bench.context.take_ledger()) {
    *bytes += phase.bytes;
    *flops += phase.flops;
  }
}

void report(Workbench& bench, const Subject& subject, double seconds, const GpuStretch& stretch,
            benchmark::State& state) {
  int64_t bytes = 0, flops = 0;
  declared(bench, subject, &bytes, &flops);
  if (subject.bytes >= 0) bytes = subject.bytes;
  if (subject.flops >= 0) flops = subject.flops;
  const double moved = static_cast<double>(bytes) / seconds;
  const double worked = static_cast<double>(flops) / seconds;
  state.counters["TFLOP/s"] = worked * 1e-12;
  state.counters["GB/s"] = moved * 1e-9;
  state.counters["%roof"] =
      100 * std::max(moved / bench.copy_bytes_per_second, worked / bench.linear_flops_per_second);
  if (stretch.sm_mhz) state.counters["sm_MHz"] = *stretch.sm_mhz;
  if (stretch.power_watts) state.counters["W"] = *stretch.power_watts;
  if (stretch.held_back) state.counters["%held_back"] = 100 * *stretch.held_back;
}

// Why a contender is not timed, "" when it is.
const std::string& refused(const Contender& contender) {
  if (!contender.verdict) {
    try {
      contender.verdict = contender.verify ? contender.verify() : "";
    } catch (const std::exception& error) {
      contender.verdict = error.what();
    }
  }
  return *contender.verdict;
}

// One side of a comparison.
struct Runner {
  const Contender* contender = nullptr;  // null: our own
  std::unique_ptr<Turns> turns;
  std::vector<double> seconds{};   // of its launches, turn by turn
  std::optional<double> joules{};  // of a launch, in a stretch by itself
};

// Ours first; then those contenders that are here. What the others are goes into `label`.
std::vector<Runner> runners(Workbench& bench, const Subject& subject, bool cold,
                            const Regime& regime, std::string* label) {
  std::vector<Runner> all;
  all.push_back({nullptr, std::make_unique<Turns>(bench, subject.make, cold, regime)});
  for (const Contender& contender : subject.contenders) {
    // A regime is made of whoever takes turns: one peer, and no more.
    if (!regime.plain() && contender.counter != "vs_peer") continue;
    const std::string& absent = refused(contender);
    *label += (label->empty() ? "" : "; ") + contender.counter + ": " + contender.name;
    if (!absent.empty()) {
      *label += " absent (" + absent + ")";
      continue;
    }
    all.push_back({&contender, std::make_unique<Turns>(bench, contender.make, cold, regime)});
  }
  return all;
}

// Every runner once, in an order of this round, so that clocks drift for all alike.
void take_turns(std::vector<Runner>* all, uint64_t seed, int64_t round) {
  for (const size_t i : shuffled(all->size(), seed, round)) {
    Runner& runner = (*all)[i];
    runner.seconds.push_back(runner.turns->next());
  }
}

void settle(std::vector<Runner>* all, const Regime& regime, uint64_t seed) {
  if (regime.plain()) {
    for (Runner& runner : *all) runner.turns->warm_up();
    return;
  }
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  const std::chrono::duration<double> enough(regime.settle_seconds);
  for (int64_t round = -1; round >= -2 || Clock::now() - begin < enough; --round) {
    take_turns(all, seed, round);
  }
  for (Runner& runner : *all) runner.seconds.clear();
}

// Further rounds that count, until the regime has had its time.
void finish_rounds(std::vector<Runner>* all, const Regime& regime, uint64_t seed,
                   std::chrono::steady_clock::time_point begin) {
  const std::chrono::duration<double> enough(regime.seconds);
  while (std::chrono::steady_clock::now() - begin < enough) {
    take_turns(all, seed, std::ssize(all->front().seconds));
  }
}

// What a launch of each costs in energy when nothing else runs: at clocks of its own.
void run_alone(Workbench& bench, std::vector<Runner>* all, const Regime& regime, uint64_t seed) {
  if (regime.alone_seconds <= 0) return;
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> enough(regime.alone_seconds);
  for (const size_t i : shuffled(all->size(), seed, kAloneRound)) {
    Runner& runner = (*all)[i];
    std::vector<double> seconds;
    GpuSampler sampler(bench.monitor);
    for (const Clock::time_point begin = Clock::now(); Clock::now() - begin < enough;) {
      seconds.push_back(runner.turns->next());
    }
    const std::optional<double> watts = sampler.stop().power_watts;
    if (watts && !runner.turns->swept()) runner.joules = *watts * median(seconds);
  }
}

void time(Workbench& bench, const Subject& subject, bool cold, const Regime& regime,
          benchmark::State& state) {
  if (!subject.verdict) subject.verdict = subject.verify();
  if (!subject.verdict->empty()) {
    state.SkipWithError(subject.verdict->c_str());
    return;
  }
  std::string label;
  std::vector<Runner> all = runners(bench, subject, cold, regime, &label);
  const uint64_t seed = mix_seed({bench.seed, name_seed(subject.name)});
  settle(&all, regime, seed);
  run_alone(bench, &all, regime, seed);
  int64_t round = 0;
  GpuSampler sampler(bench.monitor);
  const auto begin = std::chrono::steady_clock::now();
  for ([[maybe_unused]] auto _ : state) {
    take_turns(&all, seed, round++);
    state.SetIterationTime(all.front().seconds.back());
  }
  finish_rounds(&all, regime, seed, begin);
  const std::vector<double>& own = all.front().seconds;
  report(bench, subject, median(own), sampler.stop(), state);
  const std::optional<double> joules = all.front().joules;
  if (joules) state.counters["mJ"] = 1000 * *joules;
  for (size_t i = 1; i < all.size(); ++i) {
    const std::string& counter = all[i].contender->counter;
    std::vector<double> ratios;
    for (size_t r = 0; r < own.size(); ++r) ratios.push_back(all[i].seconds[r] / own[r]);
    state.counters[counter] = median(all[i].seconds) / median(own);
    state.counters[counter + "_p10"] = quantile(ratios, 0.1);
    state.counters[counter + "_p90"] = quantile(ratios, 0.9);
    if (joules && all[i].joules) state.counters[counter + "_energy"] = *all[i].joules / *joules;
  }
  state.SetLabel(label);
}

}  // namespace

Workbench::Workbench()
    : linear(context), reference(make_reference_ops()), timer(context.stream()) {}

void measure_ceilings(Workbench& bench) {
  constexpr size_t kBytes = size_t{2} << 30;
  constexpr int64_t kSide = 8192;
  const auto from = bench.context.allocate(kBytes), to = bench.context.allocate(kBytes);
  const auto memory = make_device_tensors(bench.context, 4);
  LinearParams product;
  product.x = memory->random(DType::bf16, {kSide, kSide});
  product.weight = memory->random(DType::bf16, {kSide, kSide});
  product.out = memory->output(DType::bf16, {kSide, kSide});
  const auto best = [&bench](const std::function<void()>& issue) {
    double seconds = 1;
    for (int run = 0; run < 12; ++run) {
      seconds = std::min(seconds, bench.timer.seconds(
                                      [&] {
                                        for (int i = 0; i < 4; ++i) issue();
                                      },
                                      Hold::none) /
                                      4);
    }
    return seconds;
  };
  bench.copy_bytes_per_second =
      2.0 * kBytes / best([&] {
        KVG_CHECK_CUDA(cudaMemcpyAsync(to->data(), from->data(), kBytes, cudaMemcpyDeviceToDevice,
                                       bench.context.stream()));
      });
  bench.linear_flops_per_second =
      2.0 * kSide * kSide * kSide / best([&] { bench.linear.run(product); });
}

void register_benchmarks(Workbench& bench, const std::vector<Regime>& regimes) {
  for (const Regime& regime : regimes) {
    const std::string suffix = regime.plain() ? "" : "/" + std::string(regime.name);
    for (const Subject& subject : bench.subjects) {
      for (const bool cold : {true, false}) {
        benchmark::RegisterBenchmark((subject.name + (cold ? "/cold" : "/warm") + suffix).c_str(),
                                     [&bench, &subject, cold, regime](benchmark::State& state) {
                                       try {
                                         time(bench, subject, cold, regime, state);
                                       } catch (const std::exception& error) {
                                         state.SkipWithError(error.what());
                                       }
                                     })
            ->UseManualTime()
            ->Iterations(regime.rounds)
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

double relative_error(const std::vector<double>& a, const std::vector<double>& b) {
  KVG_CHECK(a.size() == b.size(), "as many values on both sides");
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  if (difference == 0) return 0;
  return std::sqrt(difference / norm);
}

}  // namespace kvg
