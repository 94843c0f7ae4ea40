#include "base/progress.h"
#include "bench/latency/bench_common.h"
#include "bench/latency/latency_run.h"

#include <algorithm>
#include <optional>

namespace kvg {

namespace {

// A bisection stops when the batch is known to this share of it.
constexpr int64_t kResolution = 32;

struct Cell {
  Method method;
  int64_t context = 0;
  int64_t batch = 0;  // found in an earlier round
  bool done = false;  // nothing fits, or failed
};

// One search for the largest batch that runs.
struct Search {
  int64_t bound = 0;
  int64_t fits = 0;    // largest that ran
  int64_t fails = 0;   // smallest that did not; 0: none
  double seconds = 0;  // of a step at `fits`
  GpuStretch gpu;      // during those steps
  std::optional<int64_t> memory_used;
  std::string error;  // of the last failure
  std::vector<std::pair<int64_t, bool>> attempts;

  bool settled() const {
    return fits > 0 && (fails == 0 || fails - fits <= std::max<int64_t>(1, fits / kResolution));
  }
  // The next batch to try, 0 when there is none left.
  int64_t next() const {
    if (fails == 0) return bound;
    if (fits > 0) return (fits + fails) / 2;
    // Down from the bound by 1/32, 1/16, ... of what failed: the bound is usually near.
    const auto failures = std::ssize(attempts);
    const int64_t divisor = std::max<int64_t>(2, kResolution >> (failures - 1));
    return fails - std::max<int64_t>(1, fails / divisor);
  }
};

class CapacityRun {
 public:
  CapacityRun(const Weights& weights, Ops& ops, const CapacityOptions& options)
      : weights_(weights),
        ops_(ops),
        options_(options),
        timing_(options.request.timing),
        record_(options.root, options.folder, options.request, options.command, options.threads) {
    timing_.traced_steps = 0;
    timing_.stride = 1;
    for (const std::string& method : options.request.methods) {
      for (const int64_t context : options.request.contexts) {
        cells_.push_back({Method::parse(method), context});
      }
    }
    record_.planned = std::ssize(cells_) * options.request.repeats;
  }

  BenchOutcome run() {
    describe_machine(weights_, ops_, timing_.seed, &monitor_, &record_.machine);
    record_.write("running");
    bool failed = false;
    Progress progress("capacity", record_.planned);
    for (int64_t round = 0; round < options_.request.repeats; ++round) {
      for (const size_t index : shuffled(cells_.size(), timing_.seed, round)) {
        Cell& cell = cells_[index];
        if (stop_requested(options_.stop)) {
          finish("interrupted");
          throw BenchInterrupted();
        }
        progress.label(cell.method.canonical() + " " + std::to_string(cell.context));
        if (!cell.done) failed |= !visit(&cell, round);
        progress.advance(1);
      }
    }
    progress.finish();
    finish("complete");
    return {record_.path(), !failed};
  }

 private:
  // False when the cell failed, which is not the same as fitting nothing.
  bool visit(Cell* cell, int64_t round) {
    const RowPlace place{cell->method.canonical(), "capacity", cell->context, 0, round};
    try {
      const CellTimer timer(weights_, ops_, cell->method, timing_);
      RowFacts facts;
      facts.provisioned = timer.longest(cell->context);
      facts.cache_bytes = timer.cache_bytes(facts.provisioned);
      const uint64_t one =
          static_cast<uint64_t>(facts.cache_bytes.total()) + working_bytes(weights_, ops_, 1);
      const uint64_t available = ops_.available_memory();
      Search search;
      search.bound = std::min(options_.largest_batch, static_cast<int64_t>(available / one));
      if (search.bound == 0) {
        cell->done = true;
        record_.add_too_large(place, one, available);
        return true;
      }
      facts.bound_batch = search.bound;
      if (cell->batch > 0) search.bound = std::min(search.bound, cell->batch);
      find(timer, cell->context, &search);
      if (search.fits == 0) throw Error(search.error);
      cell->batch = search.fits;
      facts.attempts = search.attempts;
      facts.memory_used = search.memory_used;
      facts.gpu = search.gpu;
      Observation observation;
      observation.seconds = search.seconds;
      observation.steps = timing_.steps;
      RowPlace found = place;
      found.batch = search.fits;
      record_.add(found, observation, facts);
    } catch (const std::exception& error) {
      cell->done = true;
      record_.add_failed(place, error.what());
      return false;
    }
    record_.write("running");
    return true;
  }

  void find(const CellTimer& timer, int64_t context, Search* search) {
    while (!search->settled()) {
      const int64_t batch = search->next();
      if (batch < 1) return;
      const bool fits = attempt(timer, context, batch, search);
      search->attempts.emplace_back(batch, fits);
      if (!fits) search->fails = batch;
      if (!fits && batch == 1) return;
    }
  }

  bool attempt(const CellTimer& timer, int64_t context, int64_t batch, Search* search) {
    try {
      const uint64_t free_before = ops_.available_memory();
      PrefilledBatch prefilled = timer.prefill_one(context);
      timer.replicate(batch, &prefilled);
      ops_.synchronize();
      const uint64_t free_now = ops_.available_memory();
      const auto decode =
          timer.decode_batch(&prefilled, timer.longest(context) - context, DecodeOptions{});
      std::optional<GpuSampler> sampler;
      const double seconds = timer.time_steps(decode.get(), timing_.steps, [&] {
        sampler.emplace(monitor_, ops_.device() != Device::cpu);
      });
      search->gpu = sampler->stop();
      search->fits = batch;
      search->seconds = seconds;
      if (ops_.device() != Device::cpu && free_now < free_before) {
        search->memory_used = static_cast<int64_t>(free_before - free_now);
      }
      return true;
    } catch (const Error& error) {
      search->error = error.what();
    } catch (const std::bad_alloc&) {
      search->error = "out of memory";
    }
    return false;
  }

  void finish(const char* status) {
    record_.machine.after = monitor_.read();
    record_.write(status);
  }

  const Weights& weights_;
  Ops& ops_;
  const CapacityOptions& options_;
  TimingOptions timing_;
  GpuMonitor monitor_;
  BenchRecord record_;
  std::vector<Cell> cells_;
};

}  // namespace

BenchOutcome run_capacity(const Weights& weights, Ops& ops, const CapacityOptions& options) {
  return CapacityRun(weights, ops, options).run();
}

}  // namespace kvg
