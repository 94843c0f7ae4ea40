#pragma once

#include "base/ledger.h"
#include "base/statistics.h"
#include "reports/charts/palette.h"
#include "reports/latency_record.h"
#include "reports/metrics.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvg::reports {

// Everything that a latency or capacity report says, computed once from the rows of its record.

// A median over repeats. Fewer than kMinimumUnits repeats give no interval.
struct Timing {
  double seconds = 0;
  std::optional<Interval> interval;  // 95 %, bootstrap of the median
  int64_t repeats = 0;
};
std::optional<Timing> median_timing(std::span<const double> seconds,
                                    const StatisticsOptions& options);

// One phase of a cell's ledger.
struct PhaseShare {
  std::string phase;
  Timing timing;
  int64_t launches = 0, bytes = 0, flops = 0;
  // The least time that `bytes` and `flops` take at the ceilings, and its share of the timing
  // (0: nothing was declared).
  double least_seconds = 0, roof_share = 0;
  bool compute_bound = false;
};

enum class CellStatus { kClosed, kIncomplete, kTooLarge, kSkipped, kFailed, kMissing };
// "closes", "INCOMPLETE", "too large", "skipped", "failed", "not measured"
std::string_view status_text(CellStatus status);

// One method at one context and batch, one stage.
struct LatencyCell {
  size_t method = 0;
  int64_t context = 0, batch = 0;
  std::string stage;
  CellStatus status = CellStatus::kMissing;
  std::string error;
  std::optional<int64_t> needed, available;
  std::optional<double> predicted;  // seconds: skipped for the time limit

  std::optional<Timing> total, traced, without_bank;
  std::optional<Timing> removed;   // total - without_bank, repeat by repeat
  std::vector<PhaseShare> phases;  // in the order of kPhaseNames
  double gaps = 0;                 // total - sum of the phases; negative when they overlap or drift
  double interval_seconds = 0;     // taken off every timed interval
  std::optional<Timing> overlap;   // of neighbouring kernels, not in any phase; decode on a GPU
  std::optional<double> closure;   // none: nothing was traced
  double evicted_tokens = 0;
  int64_t steps = 0;
  CacheBytes cache_bytes;              // of one sequence
  int64_t provisioned_tokens = 0;      // that it has room for
  std::optional<int64_t> memory_used;  // largest of the repeats, whole batch
  // While it ran, means over the repeats that tell; share of the time with lower clocks than
  // possible.
  std::optional<double> sm_mhz, power_watts, held_back;
  int64_t bound_batch = 0;             // of capacity
  std::vector<BatchAttempt> attempts;  // of capacity, of the first repeat

  bool measured() const { return total.has_value(); }
  const PhaseShare* phase(std::string_view name) const;
  // Tokens a second of the whole batch: prompts in prefill, new ones in decode.
  double tokens_per_second() const;
  // Of the whole device, idle moments included; none where no power was told.
  std::optional<double> joules_per_token() const;
  // Of the bank update, by its phase and by removal; none without evictions.
  std::optional<double> bank_seconds_per_evicted_token() const;
};

struct LatencyMethod {
  std::string method;  // canonical
  std::string label;
  SeriesStyle style;
};

// From which context on a method is as fast as the reference.
struct BreakEven {
  enum class Kind { kAlways, kFrom, kUntil, kNever, kUnknown };
  size_t method = 0;
  int64_t batch = 0;
  std::string stage;
  Kind kind = Kind::kUnknown;
  double context = 0;         // of kFrom and kUntil, interpolated
  int64_t low = 0, high = 0;  // contexts compared
  std::string text() const;   // one sentence part
};
// Times at growing contexts. kFrom: slower before `context` and faster after it, where the
// straight lines between the measured points cross last.
BreakEven break_even(const std::vector<int64_t>& contexts, const std::vector<double>& method,
                     const std::vector<double>& reference);

struct LatencyDigest {
  const LatencyRun* run;
  StatisticsOptions options;
  std::vector<LatencyMethod> methods;
  std::vector<LatencyCell> cells;   // by stage, batch, context, method
  std::optional<size_t> reference;  // `full`
  std::vector<BreakEven> break_even;
  std::vector<std::string> notes;  // what is wrong or worth knowing, one sentence each

  const LatencyCell* find(std::string_view stage, int64_t batch, int64_t context,
                          size_t method) const;
  // Stages, batches and contexts that the record asks for, in order.
  std::vector<std::string> stages() const;
  std::vector<int64_t> batches() const;
  std::vector<int64_t> contexts() const;
  bool complete() const;
};

LatencyDigest make_latency_digest(const LatencyRun& run, const StatisticsOptions& options);

// (bytes of weights that a step reads / measured bandwidth) / time of the step; none for prefill.
std::optional<double> weight_share(const LatencyDigest& digest, const LatencyCell& cell);

}  // namespace kvg::reports
