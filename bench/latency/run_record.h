#pragma once

#include "bench/gpu_monitor.h"
#include "bench/gpu_sampler.h"
#include "bench/latency/ceilings.h"
#include "bench/latency/cell_timer.h"
#include "evals/provenance.h"
#include "evals/run_folder.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvg {

// What is measured: the request of reports/SCHEMA.md, kinds "latency" and "capacity".
struct BenchRequest {
  std::string kind = "latency";
  std::string model, model_hash, model_config;  // config as a JSON object
  int64_t layers = 0, full_layers = 0;
  std::string ops;
  std::vector<std::string> methods;  // canonical, or what a contender is called
  std::vector<int64_t> contexts, batches;
  std::vector<std::string> stages;
  int64_t repeats = 5;
  double time_limit = 0;      // seconds; 0: none
  uint64_t memory_limit = 0;  // bytes; 0: none
  TimingOptions timing;
};

// What was found out about one cell so far.
struct CellState {
  std::string method, stage, status;
  int64_t context = 0, batch = 0, repeats = 0;
  std::optional<double> closure;
};

// Where one line of items.jsonl belongs.
struct RowPlace {
  std::string method, stage;
  int64_t context = 0, batch = 0, repeat = 0;
};

// What a line holds beside its place, when something was measured.
struct RowFacts {
  CacheBytes cache_bytes;   // of one sequence
  int64_t provisioned = 0;  // tokens that it has room for
  std::optional<int64_t> memory_used;
  GpuStretch gpu;  // while it was measured
  // Of capacity.
  int64_t bound_batch = 0;
  std::vector<std::pair<int64_t, bool>> attempts;
};

// Writes the record of a latency or capacity run. Every line is on disk when its call returns.
class BenchRecord {
 public:
  // The folder is `folder`, or one named by the run id in `root`. Throws Error when it cannot be
  // written, or holds a run.
  BenchRecord(const std::string& root, const std::string& folder, BenchRequest request,
              std::vector<std::string> command, int threads);

  const std::filesystem::path& path() const { return folder_.path(); }

  struct Machine {
    GpuFacts gpu;  // without a name on the host
    std::string note;
    GpuReading before, after;
    MachineCeilings ceilings;
    std::string calibration;  // how the cost of a timed interval was measured
    int64_t weight_bytes = 0, step_weight_bytes = 0;
  };
  Machine machine;
  std::vector<CellState> cells;
  int64_t planned = 0;

  void add(const RowPlace& place, const Observation& observation, const RowFacts& facts);
  void add_too_large(const RowPlace& place, uint64_t needed, uint64_t available);
  void add_skipped(const RowPlace& place, double predicted_seconds);
  void add_failed(const RowPlace& place, std::string_view error);
  // run.json as it is now: "running", "complete", "interrupted" or "failed".
  void write(const std::string& status, const std::string& error = {});

 private:
  static std::filesystem::path folder_of(const std::string& root, const std::string& folder,
                                         const std::string& run_id);

  BenchRequest request_;
  std::string started_, build_;
  std::string request_json_, run_id_;
  std::vector<std::string> command_;
  int threads_;
  RunFolder folder_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace kvg
