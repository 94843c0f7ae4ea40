#pragma once

#include "reports/record.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvg::reports {

// What a run record holds, by `kind` of its run.json.
enum class RecordKind { kEvaluation, kLatency, kCapacity };
// Throws Error when the folder has no run.json or it names another kind.
RecordKind record_kind(const std::filesystem::path& directory);

// A latency or capacity record (SCHEMA.md) in memory. Sizes are bytes, times seconds.

// The parts of a pass in the order in which they run. Gaps are computed, not recorded.
inline constexpr std::array<std::string_view, 9> kPhaseNames = {
    "embed", "qkv", "rope", "bank", "attention", "output", "mlp", "head", "sample"};

struct PhaseTime {
  std::string phase;
  double seconds = 0;
  int64_t intervals = 0, launches = 0, bytes = 0, flops = 0;
};

// One attempt of a capacity search.
struct BatchAttempt {
  int64_t batch = 0;
  bool fits = false;
};

// One repeat of one cell.
struct LatencyRow {
  std::string key, method, stage;
  int64_t context = 0, batch = 0, repeat = 0;
  std::string error;                         // empty: measured, or too large
  std::optional<int64_t> needed, available;  // both: the caches did not fit
  std::optional<double> predicted;           // seconds: the time limit left no room for it
  double seconds = 0;
  std::optional<double> traced_seconds, without_bank_seconds;
  std::vector<PhaseTime> phases;
  double interval_seconds = 0;  // taken off every interval of `phases`
  // Part of that, all intervals together, by which kernels overlap when nothing is timed.
  std::optional<double> overlap_seconds;
  int64_t steps = 0;
  double evicted_tokens = 0;
  CacheBytes cache_bytes;          // of one sequence
  int64_t provisioned_tokens = 0;  // that it has room for
  std::optional<int64_t> memory_used;
  // While it was measured: mean clock and power, share of the time with lower clocks than possible.
  std::optional<double> sm_mhz, power_watts, held_back;
  std::string held_back_by;
  int64_t bound_batch = 0;
  std::vector<BatchAttempt> attempts;

  bool measured() const { return error.empty() && !needed && !predicted; }
};

// What the writer itself found for one cell.
struct CellVerdict {
  std::string method, stage, status;
  int64_t context = 0, batch = 0, repeats = 0;
  std::optional<double> closure;
};

struct DeviceReading {
  std::optional<double> sm_mhz, memory_mhz, power_watts, celsius;
  std::string held_back_by;  // reasons for lower clocks, empty: none
};

struct DeviceRecord {
  std::string name, driver, sharing, note;
  std::optional<int64_t> memory;
  std::optional<double> power_limit_watts;
  DeviceReading before, after;
};

struct Ceilings {
  double copy_bytes_per_second = 0, linear_flops_per_second = 0;
  int64_t copy_bytes = 0;
  std::vector<int64_t> linear_shape;
};

struct LatencyRun {
  std::filesystem::path directory;
  RecordKind kind = RecordKind::kLatency;
  std::string run_id, status, error;
  std::string started, build, ops;
  std::string model, model_hash;
  int64_t layers = 0, full_layers = 0;
  int64_t seed = 0, repeats = 0, chunk = 0, steps = 0, stride = 1;
  std::optional<double> time_limit;
  std::optional<int64_t> memory_limit;
  std::vector<std::string> methods, stages;
  std::vector<int64_t> contexts, batches;
  std::vector<std::pair<std::string, std::string>> provenance;
  std::vector<std::string> command;
  DeviceRecord device;
  Ceilings ceilings;
  std::string calibration;  // how the cost of a timed interval was measured
  int64_t weight_bytes = 0, step_weight_bytes = 0;
  std::vector<CellVerdict> cells;
  int64_t planned_items = 0;
  double seconds = 0;
  std::vector<LatencyRow> rows;
  std::vector<std::string> notes;  // as in Run

  // Whether the record is about this stage of methods[method]: contenders prefill and no more.
  bool times(size_t method, std::string_view stage) const;
  bool sliced() const { return layers < full_layers; }
  std::string provenance_value(std::string_view name) const;
};

// Reads and checks a run folder. Throws Error naming the file, the line, the field, what was found
// and what was expected.
LatencyRun read_latency_run(const std::filesystem::path& directory);

}  // namespace kvg::reports
