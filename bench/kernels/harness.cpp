#include "bench/kernels/harness.h"

#include "base/error.h"
#include "kernels/cuda/error.h"
#include "kernels/decode.h"

#include <algorithm>
#include <cmath>

#include <benchmark/benchmark.h>

namespace kvg {

namespace {

constexpr int kSamples = 15;              // batches timed
constexpr double kBatchSeconds = 400e-6;  // a batch takes at least about this long
constexpr int kMostLaunches = 64;         // of a batch
constexpr int kMostCopies = 48;           // of the tensors, to rotate through
constexpr int kMostWarmUps = 40;

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// One batch of launches, ready to be enqueued.
class Batch {
 public:
  Batch(Workbench& bench, std::vector<Work> rotation, int launches, size_t flush_bytes)
      : bench_(bench), rotation_(std::move(rotation)), launches_(launches) {
    if (flush_bytes > 0) flush_ = bench.context.allocate(flush_bytes);
    if (!recordable()) return;
    recording_ = bench_.context.record([this] { enqueue(true); });
    if (flush_) flushes_ = bench_.context.record([this] { enqueue(false); });
  }

  // Seconds a launch.
  double seconds() {
    double sum = bench_.timer.seconds([this] { run(); }, recordable());
    if (flush_) sum -= bench_.timer.seconds([this] { flushes_->replay(); }, true);
    return sum / launches_;
  }

 private:
  bool recordable() const { return rotation_.front().recordable; }
  void run() {
    if (recording_) {
      recording_->replay();
    } else {
      enqueue(true);
    }
  }
  void enqueue(bool work) {
    for (int i = 0; i < launches_; ++i) {
      if (flush_) {
        KVG_CHECK_CUDA(
            cudaMemsetAsync(flush_->data(), 0, flush_->bytes(), bench_.context.stream()));
      }
      if (work) rotation_[static_cast<size_t>(i) % rotation_.size()].issue();
    }
  }

  Workbench& bench_;
  std::vector<Work> rotation_;
  int launches_;
  std::unique_ptr<Buffer> flush_;
  std::unique_ptr<Recording> recording_, flushes_;
};

// The tensors of one way to run, and the batch that uses them.
class Rotation {
 public:
  Rotation(Workbench& bench, const std::function<Work(Tensors&)>& make, bool cold) {
    const auto l2 = static_cast<size_t>(bench.context.device().l2_bytes);
    std::vector<Work> rotation = {add(bench, make)};
    const size_t footprint = std::max<size_t>(memory_.front()->total(), 1);
    size_t flush = 0;
    if (cold) {
      const size_t copies = 2 * l2 / footprint + 1;
      // What is too small for that has its caches swept by a write before each launch; the time of
      // the write alone is taken off.
      if (copies > kMostCopies && rotation.front().recordable) flush = 2 * l2;
      while (flush == 0 && rotation.size() < std::min<size_t>(copies, kMostCopies)) {
        rotation.push_back(add(bench, make));
      }
    }
    for (const Work& work : rotation) work.issue();  // whatever is made on first use
    const double once = bench.timer.seconds(rotation.front().issue, false);
    const auto enough = static_cast<int>(std::min(kBatchSeconds / once, 1.0 * kMostLaunches)) + 1;
    const auto copies = static_cast<int>(rotation.size());
    const int rounds = (enough + copies - 1) / copies;
    batch_.emplace(bench, std::move(rotation), flush > 0 ? 16 : rounds * copies, flush);
  }

  double seconds() { return batch_->seconds(); }
  // Until three times in a row agree within 1 %.
  void warm_up() {
    double last[2] = {0, 0};
    for (int i = 0; i < kMostWarmUps; ++i) {
      const double now = seconds();
      const auto near = [now](double other) { return std::abs(other - now) <= 0.01 * now; };
      if (near(last[0]) && near(last[1])) return;
      last[0] = last[1];
      last[1] = now;
    }
  }

 private:
  Work add(Workbench& bench, const std::function<Work(Tensors&)>& make) {
    memory_.push_back(make_device_tensors(bench.context, mix_seed({2, memory_.size()})));
    return make(*memory_.back());
  }

  std::vector<std::unique_ptr<Tensors>> memory_;  // outlives the batch
  std::optional<Batch> batch_;
};

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

void report(Workbench& bench, const Subject& subject, double seconds, benchmark::State& state) {
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
  if (const GpuReading reading = bench.monitor.read(); reading.sm_mhz) {
    state.counters["sm_MHz"] = *reading.sm_mhz;
  }
}

// Why a contender is not timed, "" when it is.
std::string refused(const Contender& contender) {
  if (!contender.verify) return "";
  try {
    return contender.verify();
  } catch (const std::exception& error) {
    return error.what();
  }
}

void time(Workbench& bench, const Subject& subject, bool cold, benchmark::State& state) {
  if (!subject.verdict) subject.verdict = subject.verify();
  if (!subject.verdict->empty()) {
    state.SkipWithError(subject.verdict->c_str());
    return;
  }
  Rotation ours(bench, subject.make, cold);
  ours.warm_up();
  std::vector<std::unique_ptr<Rotation>> theirs;
  std::string label;
  for (const Contender& contender : subject.contenders) {
    const std::string absent = refused(contender);
    label += (label.empty() ? "" : "; ") + contender.counter + ": " + contender.name;
    if (!absent.empty()) label += " absent (" + absent + ")";
    theirs.push_back(absent.empty() ? std::make_unique<Rotation>(bench, contender.make, cold)
                                    : nullptr);
    if (theirs.back()) theirs.back()->warm_up();
  }
  std::vector<double> own;
  std::vector<std::vector<double>> others(theirs.size());
  for ([[maybe_unused]] auto _ : state) {  // alternating, so that clocks drift for all alike
    own.push_back(ours.seconds());
    state.SetIterationTime(own.back());
    for (size_t i = 0; i < theirs.size(); ++i) {
      if (theirs[i]) others[i].push_back(theirs[i]->seconds());
    }
  }
  const double seconds = median(own);
  report(bench, subject, seconds, state);
  for (size_t i = 0; i < theirs.size(); ++i) {
    if (theirs[i]) state.counters[subject.contenders[i].counter] = median(others[i]) / seconds;
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
                                      false) /
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

void register_benchmarks(Workbench& bench) {
  for (const Subject& subject : bench.subjects) {
    for (const bool cold : {true, false}) {
      benchmark::RegisterBenchmark((subject.name + (cold ? "/cold" : "/warm")).c_str(),
                                   [&bench, &subject, cold](benchmark::State& state) {
                                     try {
                                       time(bench, subject, cold, state);
                                     } catch (const std::exception& error) {
                                       state.SkipWithError(error.what());
                                     }
                                   })
          ->UseManualTime()
          ->Iterations(kSamples)
          ->Unit(benchmark::kMicrosecond);
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
