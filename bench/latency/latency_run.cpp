#include "bench/latency/latency_run.h"

#include "base/ledger.h"
#include "base/progress.h"
#include "bench/latency/bench_common.h"

#include <algorithm>
#include <chrono>

namespace kvg {

namespace {

struct Cell {
  Method method;
  int64_t context = 0, batch = 0;
  bool prefill = false, decode = false;
  bool done = false;    // too large, or failed: not visited again
  double seconds = 0;   // of the last visit
  int64_t repeats = 0;  // made
  std::vector<Observation> prefills, decodes;
};

double closure_of(const std::vector<Observation>& observations) {
  std::vector<double> totals;
  for (const Observation& observation : observations) totals.push_back(observation.seconds);
  std::vector<double> parts;
  for (size_t p = 0; p < kPhases; ++p) {
    std::vector<double> seconds;
    for (const Observation& observation : observations) {
      const PhaseWork& work = (*observation.ledger)[p];
      if (work.intervals > 0 || work.launches > 0) seconds.push_back(work.seconds);
    }
    if (!seconds.empty()) parts.push_back(median(std::move(seconds)));
  }
  return ledger_closure(parts, median(std::move(totals)));
}

class LatencyRun {
 public:
  LatencyRun(const Weights& weights, Ops& ops, const LatencyOptions& options)
      : weights_(weights),
        ops_(ops),
        options_(options),
        record_(options.root, options.folder, options.request, options.command, options.threads) {
    plan();
  }

  BenchOutcome run() {
    describe_machine(weights_, ops_, options_.request.timing.seed, &monitor_, &record_.machine);
    record_.write("running");
    Progress progress("latency", std::ssize(cells_) * options_.request.repeats);
    for (int64_t round = 0; round < options_.request.repeats; ++round) {
      for (const size_t index : shuffled(cells_.size(), options_.request.timing.seed, round)) {
        Cell& cell = cells_[index];
        if (stop_requested(options_.stop)) {
          finish("interrupted");
          throw BenchInterrupted();
        }
        progress.label(cell.method.canonical() + " " + std::to_string(cell.context) + "x" +
                       std::to_string(cell.batch));
        if (!cell.done && in_time(cell)) visit(&cell, round);
        progress.advance(1);
      }
    }
    progress.finish();
    finish("complete");
    return {record_.path(), complete()};
  }

 private:
  using Clock = std::chrono::steady_clock;

  void plan() {
    const BenchRequest& request = options_.request;
    const auto has = [](const auto& list, const auto& value) {
      return std::find(list.begin(), list.end(), value) != list.end();
    };
    for (const std::string& method : request.methods) {
      for (const int64_t context : request.contexts) {
        for (const int64_t batch : request.batches) {
          Cell cell;
          cell.method = Method::parse(method);
          cell.context = context;
          cell.batch = batch;
          cell.prefill = has(request.stages, "prefill") && has(options_.prefill_batches, batch);
          cell.decode = has(request.stages, "decode");
          if (!cell.prefill && !cell.decode) continue;
          record_.planned += request.repeats * (int{cell.prefill} + int{cell.decode});
          cells_.push_back(std::move(cell));
        }
      }
    }
  }

  bool in_time(const Cell& cell) const {
    const double limit = options_.request.time_limit;
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
    return limit <= 0 || elapsed + cell.seconds <= limit;
  }

  void visit(Cell* cell, int64_t round) {
    const Clock::time_point begin = Clock::now();
    const char* stage = cell->prefill ? "prefill" : "decode";
    try {
      const CellTimer timer(weights_, ops_, cell->method, options_.request.timing);
      if (fits(cell, timer, round)) measure(cell, timer, round, &stage);
    } catch (const std::exception& error) {
      cell->done = true;
      record_.add_failed(place(*cell, stage, round), error.what());
      set_state(*cell, stage, "failed", 0, std::nullopt);
    }
    ops_.trace({});
    cell->seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    record_.write("running");
  }

  bool fits(Cell* cell, const CellTimer& timer, int64_t round) {
    const auto caches = static_cast<uint64_t>(
        timer.cache_bytes(timer.longest(cell->context)).total() * cell->batch);
    const int64_t rows = cell->prefill
                             ? std::min(options_.request.timing.chunk, cell->batch * cell->context)
                             : cell->batch;
    const uint64_t needed = caches + working_bytes(weights_, ops_, rows);
    const uint64_t available = ops_.available_memory();
    if (needed <= available) return true;
    cell->done = true;
    for (const char* stage : {"prefill", "decode"}) {
      if (!(stage == std::string_view("prefill") ? cell->prefill : cell->decode)) continue;
      record_.add_too_large(place(*cell, stage, round), needed, available);
      set_state(*cell, stage, "too large", 0, std::nullopt);
    }
    return false;
  }

  void measure(Cell* cell, const CellTimer& timer, int64_t round, const char** stage) {
    if (options_.warm_up) timer.warm_up(cell->context);
    RowFacts facts;
    facts.provisioned = timer.longest(cell->context);
    facts.cache_bytes = timer.cache_bytes(facts.provisioned);
    const uint64_t free_before = ops_.available_memory();
    PrefilledBatch batch;
    if (cell->prefill) {
      const Observation observation = timer.time_prefill(cell->batch, cell->context, round % 2 == 0,
                                                         cell->decode ? &batch : nullptr);
      set_memory(free_before, cell->decode, &facts);
      add(cell, "prefill", round, observation, facts);
    }
    if (!cell->decode) return;
    *stage = "decode";
    if (!cell->prefill) {
      batch = timer.prefill_one(cell->context);
      timer.replicate(cell->batch, &batch);
      set_memory(free_before, true, &facts);
    }
    const Observation observation = timer.time_decode(&batch);
    add(cell, "decode", round, observation, facts);
  }

  void set_memory(uint64_t free_before, bool resident, RowFacts* facts) const {
    if (!resident || ops_.device() == Device::cpu) return;
    ops_.synchronize();
    const uint64_t free_now = ops_.available_memory();
    if (free_now < free_before) facts->memory_used = static_cast<int64_t>(free_before - free_now);
  }

  void add(Cell* cell, const char* stage, int64_t round, const Observation& observation,
           RowFacts facts) {
    facts.sm_mhz = monitor_.read().sm_mhz;
    record_.add(place(*cell, stage, round), observation, facts);
    std::vector<Observation>& all =
        stage == std::string_view("prefill") ? cell->prefills : cell->decodes;
    all.push_back(observation);
    const double closure = closure_of(all);
    set_state(*cell, stage, closure <= kClosureLimit ? "closed" : "incomplete", std::ssize(all),
              closure);
  }

  static RowPlace place(const Cell& cell, const char* stage, int64_t round) {
    return {cell.method.canonical(), stage, cell.context, cell.batch, round};
  }

  void set_state(const Cell& cell, const char* stage, const char* status, int64_t repeats,
                 std::optional<double> closure) {
    const CellState state{
        cell.method.canonical(), stage, status, cell.context, cell.batch, repeats, closure};
    for (CellState& known : record_.cells) {
      if (known.method == state.method && known.stage == state.stage &&
          known.context == state.context && known.batch == state.batch) {
        known = state;
        return;
      }
    }
    record_.cells.push_back(state);
  }

  bool complete() const {
    int64_t stages = 0;
    for (const Cell& cell : cells_) stages += int{cell.prefill} + int{cell.decode};
    return std::ssize(record_.cells) == stages &&
           std::all_of(record_.cells.begin(), record_.cells.end(), [](const CellState& state) {
             return state.status == "closed" || state.status == "too large";
           });
  }

  void finish(const char* status) {
    record_.machine.after = monitor_.read();
    record_.write(status);
  }

  const Weights& weights_;
  Ops& ops_;
  const LatencyOptions& options_;
  GpuMonitor monitor_;
  BenchRecord record_;
  std::vector<Cell> cells_;
  Clock::time_point begin_ = Clock::now();
};

int64_t bytes_of(const Tensor& tensor) { return tensor ? static_cast<int64_t>(tensor.bytes()) : 0; }

}  // namespace

BenchOutcome run_latency(const Weights& weights, Ops& ops, const LatencyOptions& options) {
  return LatencyRun(weights, ops, options).run();
}

void describe_machine(const Weights& weights, Ops& ops, uint64_t seed, const GpuMonitor* monitor,
                      BenchRecord::Machine* machine) {
  machine->ceilings = measure_ceilings(ops, seed);
  machine->interval_seconds = ops.empty_interval_seconds();
  int64_t step = bytes_of(weights.head) + bytes_of(weights.final_norm);
  for (const LayerWeights& layer : weights.layers) {
    for (const Tensor& tensor :
         {layer.attention_norm, layer.fused, layer.fused_bias, layer.theta, layer.head_norm,
          layer.output, layer.output_bias, layer.ffn_norm, layer.gate_up, layer.down}) {
      step += bytes_of(tensor);
    }
  }
  machine->step_weight_bytes = step;
  const bool tied = weights.embedding.data == weights.head.data;
  machine->weight_bytes = step + (tied ? 0 : bytes_of(weights.embedding));
  if (ops.device() == Device::cpu) return;
  machine->gpu = monitor->facts();
  machine->note = monitor->absent();
  if (machine->gpu.name.empty()) machine->gpu.name = "a GPU without NVML";
  machine->before = monitor->read();
}

}  // namespace kvg
