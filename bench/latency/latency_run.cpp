#include "bench/latency/latency_run.h"

#include "base/ledger.h"
#include "base/progress.h"
#include "bench/latency/bench_common.h"
#include "bench/latency/schedule.h"

#include <algorithm>
#include <chrono>

namespace kvg {

namespace {

constexpr int64_t kBriefTokens = 512;
constexpr const char* kCalibration =
    "cost of a timed interval: in prefill, what an empty one takes in a recorded step; in decode, "
    "what timing adds to the step itself: (mean step with events - mean step without) / events, "
    "stretches of both in turns";
// A decode step takes about this many times as long as its bytes do; a guess for the time limit,
// until one was measured.
constexpr double kStepFactor = 2;

// A stage of a cell that the run has been asked to time.
struct Stage {
  const char* name;  // "prefill", "decode"
  size_t planned;    // index into the schedule
  std::vector<Observation> made{};
};

struct Cell {
  std::string name;  // as in the request
  Method method;
  Ops* ops = nullptr;
  int64_t context = 0, batch = 0;
  std::optional<Stage> prefill{}, decode{};
  bool visited = false;
};

// Phases as shares of the total of their own repeat, so that slow drift does not count as a gap.
double closure_of(const std::vector<Observation>& observations) {
  std::vector<double> parts;
  for (size_t p = 0; p < kPhases; ++p) {
    std::vector<double> shares;
    for (const Observation& observation : observations) {
      const PhaseWork& work = (*observation.ledger)[p];
      if (work.intervals > 0 || work.launches > 0) {
        shares.push_back(work.seconds / observation.seconds);
      }
    }
    if (!shares.empty()) parts.push_back(median(std::move(shares)));
  }
  return ledger_closure(parts, 1);
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
    record_.machine.calibration = ops_.device() == Device::cpu ? "" : kCalibration;
    record_.write("running");
    check_sizes();
    if (options_.warm_up) predict();
    Progress progress("latency", std::ssize(cells_) * options_.request.repeats);
    for (int64_t round = 0; round < options_.request.repeats; ++round) {
      for (const size_t index : shuffled(cells_.size(), options_.request.timing.seed, round)) {
        Cell& cell = cells_[index];
        if (stop_requested(options_.stop)) {
          finish("interrupted");
          throw BenchInterrupted();
        }
        progress.label(cell.name + " " + std::to_string(cell.context) + "x" +
                       std::to_string(cell.batch));
        visit(&cell, round);
        progress.advance(1);
      }
    }
    progress.finish();
    record_skipped();
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
    const auto stage = [this](const char* name) {
      schedule_.emplace_back();
      record_.planned += options_.request.repeats;
      return Stage{name, schedule_.size() - 1};
    };
    for (const std::string& name : request.methods) {
      const bool ours = !is_contender(name);
      for (const int64_t context : request.contexts) {
        for (const int64_t batch : request.batches) {
          Cell cell{name, Method::parse(ours ? name : options_.contender->method),
                    ours ? &ops_ : options_.contender->ops, context, batch};
          if (has(request.stages, "prefill") && has(options_.prefill_batches, batch)) {
            cell.prefill = stage("prefill");
          }
          if (ours && has(request.stages, "decode")) cell.decode = stage("decode");
          if (cell.prefill || cell.decode) cells_.push_back(std::move(cell));
        }
      }
    }
  }

  bool is_contender(const std::string& name) const {
    return options_.contender && options_.contender->name == name;
  }
  CellTimer timer_of(const Cell& cell) const {
    return {weights_, *cell.ops, cell.method, options_.request.timing};
  }

  // What the stages will take, from one call of prefill of each method: for the time limit.
  void predict() {
    const BenchRequest& request = options_.request;
    if (request.time_limit <= 0) return;
    const int64_t longest = *std::max_element(request.contexts.begin(), request.contexts.end());
    for (const std::string& name : request.methods) {
      const auto first = std::find_if(cells_.begin(), cells_.end(),
                                      [&](const Cell& cell) { return cell.name == name; });
      if (first == cells_.end()) continue;
      try {
        const CellTimer timer = timer_of(*first);
        timer.warm_up(1, longest);
        const auto tokens = static_cast<double>(std::min(longest, request.timing.chunk));
        const double rate = timer.warm_up(1, longest) / tokens;
        const double passes = timer.plan().bank == DecodeBank::landmark ? 3 : 2;
        for (Cell& cell : cells_) {
          if (cell.name != name) continue;
          const double one = rate * static_cast<double>(cell.context);
          if (cell.prefill) {
            planned(*cell.prefill).seconds = passes * one * static_cast<double>(cell.batch);
          }
          if (cell.decode) planned(*cell.decode).seconds = one + decode_seconds(timer, cell);
        }
      } catch (const std::exception&) {
        // Its cells will say what is wrong.
      }
    }
  }

  // Of all steps of one timing, by the bytes that they read.
  double decode_seconds(const CellTimer& timer, const Cell& cell) const {
    const int64_t longest = timer.longest(cell.context);
    const auto bytes = static_cast<double>(record_.machine.step_weight_bytes +
                                           cell.batch * timer.cache_bytes(longest).total());
    return kStepFactor * bytes / record_.machine.ceilings.copy_bytes_per_second *
           static_cast<double>(longest - cell.context);
  }

  PlannedStage& planned(const Stage& stage) { return schedule_[stage.planned]; }

  // Cells that can never fit are known before any is run.
  void check_sizes() {
    for (Cell& cell : cells_) {
      try {
        fits(&cell, timer_of(cell), 0);
      } catch (const std::exception&) {
        // Its visit will say what is wrong.
      }
    }
  }

  bool due(const std::optional<Stage>& stage) {
    if (!stage || planned(*stage).over) return false;
    const double limit = options_.request.time_limit;
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
    return limit <= 0 || affordable(schedule_, stage->planned, options_.request.repeats,
                                    limit - elapsed, 0.5 * limit - elapsed);
  }

  void visit(Cell* cell, int64_t round) {
    const bool prefill = due(cell->prefill), decode = due(cell->decode);
    if (!prefill && !decode) return;
    Stage* stage = prefill ? &*cell->prefill : &*cell->decode;
    try {
      const CellTimer timer = timer_of(*cell);
      if (fits(cell, timer, round)) measure(cell, timer, round, prefill, decode, &stage);
    } catch (const std::exception& error) {
      planned(*stage).over = true;
      record_.add_failed(place(*cell, stage->name, round), error.what());
      set_state(*cell, stage->name, "failed", std::ssize(stage->made), std::nullopt);
    }
    ops_.trace({});
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
    for (const auto* stage : {&cell->prefill, &cell->decode}) {
      if (!*stage) continue;
      planned(**stage).over = true;
      record_.add_too_large(place(*cell, (*stage)->name, round), needed, available);
      set_state(*cell, (*stage)->name, "too large", 0, std::nullopt);
    }
    return false;
  }

  void measure(Cell* cell, const CellTimer& timer, int64_t round, bool prefill, bool decode,
               Stage** stage) {
    // Clocks rise with any work; the first visit also loads what its shapes need.
    if (options_.warm_up) {
      timer.warm_up(cell->visited ? 1 : cell->batch,
                    cell->visited ? std::min(cell->context, kBriefTokens) : cell->context);
      if (!cell->visited && is_contender(cell->name)) timer.rehearse(cell->batch, cell->context);
    }
    cell->visited = true;
    RowFacts facts;
    facts.provisioned = timer.longest(cell->context);
    facts.cache_bytes = timer.cache_bytes(facts.provisioned);
    const uint64_t free_before = ops_.available_memory();
    PrefilledBatch batch;
    Clock::time_point begin = Clock::now();
    if (prefill) {
      GpuSampler sampler(monitor_, ops_.device() != Device::cpu);
      const Observation observation =
          timer.time_prefill(cell->batch, cell->context, round % 2 == 0, decode ? &batch : nullptr);
      facts.gpu = sampler.stop();
      set_memory(free_before, decode, &facts);
      add(*cell, &*cell->prefill, round, observation, facts, begin);
      begin = Clock::now();
    }
    if (!decode) return;
    *stage = &*cell->decode;
    if (!prefill) {
      batch = timer.prefill_one(cell->context);
      timer.replicate(cell->batch, &batch);
      set_memory(free_before, true, &facts);
    }
    GpuSampler sampler(monitor_, ops_.device() != Device::cpu);
    const Observation observation = timer.time_decode(&batch);
    facts.gpu = sampler.stop();
    add(*cell, &*cell->decode, round, observation, facts, begin);
  }

  void set_memory(uint64_t free_before, bool resident, RowFacts* facts) const {
    if (!resident || ops_.device() == Device::cpu) return;
    ops_.synchronize();
    const uint64_t free_now = ops_.available_memory();
    if (free_now < free_before) facts->memory_used = static_cast<int64_t>(free_before - free_now);
  }

  void add(const Cell& cell, Stage* stage, int64_t round, const Observation& observation,
           const RowFacts& facts, Clock::time_point begin) {
    record_.add(place(cell, stage->name, round), observation, facts);
    stage->made.push_back(observation);
    PlannedStage& account = planned(*stage);
    ++account.done;
    account.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    const double closure = closure_of(stage->made);
    set_state(cell, stage->name, closure <= kClosureLimit ? "closed" : "incomplete",
              std::ssize(stage->made), closure);
  }

  // Stages that the time limit left no room for.
  void record_skipped() {
    for (const Cell& cell : cells_) {
      for (const auto* stage : {&cell.prefill, &cell.decode}) {
        if (!*stage || !(*stage)->made.empty() || planned(**stage).over) continue;
        record_.add_skipped(place(cell, (*stage)->name, 0), planned(**stage).seconds);
        set_state(cell, (*stage)->name, "skipped", 0, std::nullopt);
      }
    }
  }

  static RowPlace place(const Cell& cell, const char* stage, int64_t round) {
    return {cell.name, stage, cell.context, cell.batch, round};
  }

  void set_state(const Cell& cell, const char* stage, const char* status, int64_t repeats,
                 std::optional<double> closure) {
    const CellState state{cell.name, stage, status, cell.context, cell.batch, repeats, closure};
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
    return record_.cells.size() == schedule_.size() &&
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
  std::vector<PlannedStage> schedule_;
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
