#include "reports/latency_digest.h"

#include "base/error.h"
#include "reports/labels.h"
#include "reports/text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

using Rows = std::vector<const LatencyRow*>;

std::vector<double> values_of(const Rows& rows, double LatencyRow::*field) {
  std::vector<double> values;
  for (const LatencyRow* row : rows) values.push_back(row->*field);
  return values;
}

std::vector<double> values_of(const Rows& rows, std::optional<double> LatencyRow::*field) {
  std::vector<double> values;
  for (const LatencyRow* row : rows) {
    if (row->*field) values.push_back(*(row->*field));
  }
  return values;
}

// A phase of every repeat relative to the total of that repeat, so that slow drift does not count
// as a gap; in seconds at the median total.
PhaseShare share_of(const std::string& phase, const Rows& rows, double total, const LatencyRun& run,
                    const StatisticsOptions& options) {
  PhaseShare share;
  share.phase = phase;
  std::vector<double> seconds;
  for (const LatencyRow* row : rows) {
    for (const PhaseTime& time : row->phases) {
      if (time.phase != phase) continue;
      seconds.push_back(time.seconds / row->seconds * total);
      share.launches = time.launches;
      share.bytes = time.bytes;
      share.flops = time.flops;
    }
  }
  if (const auto timing = median_timing(seconds, options)) share.timing = *timing;
  const double by_bytes = static_cast<double>(share.bytes) / run.ceilings.copy_bytes_per_second;
  const double by_flops = static_cast<double>(share.flops) / run.ceilings.linear_flops_per_second;
  share.compute_bound = by_flops > by_bytes;
  share.least_seconds = std::max(by_bytes, by_flops);
  if (share.timing.seconds > 0) share.roof_share = share.least_seconds / share.timing.seconds;
  return share;
}

void fill_phases(const Rows& rows, const LatencyRun& run, const StatisticsOptions& options,
                 LatencyCell* cell) {
  std::vector<double> parts;
  for (const std::string_view name : kPhaseNames) {
    PhaseShare share = share_of(std::string(name), rows, cell->total->seconds, run, options);
    if (share.timing.repeats == 0) continue;
    parts.push_back(share.timing.seconds);
    cell->phases.push_back(std::move(share));
  }
  cell->gaps = cell->total->seconds;
  for (const double part : parts) cell->gaps -= part;
  if (!parts.empty()) cell->closure = ledger_closure(parts, cell->total->seconds);
}

std::optional<double> mean_of(const Rows& rows, std::optional<double> LatencyRow::*value) {
  const std::vector<double> values = values_of(rows, value);
  if (values.empty()) return std::nullopt;
  double sum = 0;
  for (const double each : values) sum += each;
  return sum / static_cast<double>(values.size());
}

void fill_measured(const Rows& rows, const LatencyRun& run, const StatisticsOptions& options,
                   LatencyCell* cell) {
  cell->total = median_timing(values_of(rows, &LatencyRow::seconds), options);
  cell->traced = median_timing(values_of(rows, &LatencyRow::traced_seconds), options);
  cell->without_bank = median_timing(values_of(rows, &LatencyRow::without_bank_seconds), options);
  std::vector<double> removed;
  for (const LatencyRow* row : rows) {
    if (row->without_bank_seconds) removed.push_back(row->seconds - *row->without_bank_seconds);
    if (row->memory_used) {
      cell->memory_used = std::max(cell->memory_used.value_or(0), *row->memory_used);
    }
  }
  cell->removed = median_timing(removed, options);
  cell->overlap = median_timing(values_of(rows, &LatencyRow::overlap_seconds), options);
  cell->sm_mhz = mean_of(rows, &LatencyRow::sm_mhz);
  cell->power_watts = mean_of(rows, &LatencyRow::power_watts);
  cell->held_back = mean_of(rows, &LatencyRow::held_back);
  const LatencyRow& first = *rows.front();
  cell->evicted_tokens = first.evicted_tokens;
  cell->steps = first.steps;
  cell->interval_seconds = first.interval_seconds;
  cell->cache_bytes = first.cache_bytes;
  cell->provisioned_tokens = first.provisioned_tokens;
  cell->bound_batch = first.bound_batch;
  cell->attempts = first.attempts;
  if (cell->stage == "capacity") {
    // Repeats may end at different batches; the cell is the smallest of them.
    for (const LatencyRow* row : rows) {
      cell->batch = cell->batch == 0 ? row->batch : std::min(cell->batch, row->batch);
    }
    cell->status = CellStatus::kClosed;
    return;
  }
  fill_phases(rows, run, options, cell);
  cell->status = cell->closure && *cell->closure <= kClosureLimit ? CellStatus::kClosed
                                                                  : CellStatus::kIncomplete;
}

void fill(const LatencyRun& run, const StatisticsOptions& options, LatencyCell* cell) {
  Rows measured;
  for (const LatencyRow& row : run.rows) {
    if (row.method != run.methods[cell->method] || row.context != cell->context ||
        row.stage != cell->stage || (cell->stage != "capacity" && row.batch != cell->batch)) {
      continue;
    }
    if (row.measured()) {
      measured.push_back(&row);
    } else if (!row.error.empty()) {
      cell->error = row.error;
      cell->status = CellStatus::kFailed;
    } else if (row.predicted) {
      cell->predicted = row.predicted;
      cell->status = CellStatus::kSkipped;
    } else {
      cell->needed = row.needed;
      cell->available = row.available;
      cell->status = CellStatus::kTooLarge;
    }
  }
  if (!measured.empty()) fill_measured(measured, run, options, cell);
}

bool is_reference(const std::string& method) {
  return method.substr(0, method.find_first_of("(+")) == "full" && !method.starts_with("full+");
}

void add_break_even(LatencyDigest* digest) {
  if (!digest->reference) return;
  for (const std::string& stage : digest->stages()) {
    for (const int64_t batch : digest->batches()) {
      for (size_t m = 0; m < digest->methods.size(); ++m) {
        if (m == *digest->reference || !digest->run->times(m, stage)) continue;
        std::vector<int64_t> contexts;
        std::vector<double> own, reference;
        for (const int64_t context : digest->contexts()) {
          const LatencyCell* a = digest->find(stage, batch, context, m);
          const LatencyCell* b = digest->find(stage, batch, context, *digest->reference);
          if (a == nullptr || b == nullptr || !a->measured() || !b->measured()) continue;
          contexts.push_back(context);
          own.push_back(a->total->seconds);
          reference.push_back(b->total->seconds);
        }
        BreakEven result = break_even(contexts, own, reference);
        result.method = m;
        result.batch = batch;
        result.stage = stage;
        digest->break_even.push_back(result);
      }
    }
  }
}

std::string cell_name(const LatencyDigest& digest, const LatencyCell& cell) {
  return fmt::format("{} of {} at context {}, batch {}", cell.stage,
                     digest.methods[cell.method].label, thousands(cell.context), cell.batch);
}

// The writer's verdicts are never used, but when they differ one of the two is damaged.
void check_verdicts(LatencyDigest* digest) {
  for (const CellVerdict& verdict : digest->run->cells) {
    const auto& methods = digest->run->methods;
    const auto at = std::find(methods.begin(), methods.end(), verdict.method);
    const LatencyCell* cell = at == methods.end()
                                  ? nullptr
                                  : digest->find(verdict.stage, verdict.batch, verdict.context,
                                                 static_cast<size_t>(at - methods.begin()));
    std::string own = cell == nullptr ? "nothing" : std::string(status_text(cell->status));
    if (cell != nullptr && cell->status == CellStatus::kIncomplete) own = "incomplete";
    if (cell != nullptr && cell->status == CellStatus::kClosed) own = "closed";
    if (own == verdict.status) continue;
    digest->notes.push_back(
        fmt::format("{} of {} at context {}, batch {}: run.json says {}, its "
                    "lines say {}",
                    verdict.stage, printable(verdict.method, 120), thousands(verdict.context),
                    verdict.batch, verdict.status, own));
  }
}

void add_notes(LatencyDigest* digest) {
  const LatencyRun& run = *digest->run;
  digest->notes = run.notes;
  if (run.sliced()) {
    digest->notes.push_back(fmt::format(
        "A slice of the model was measured: {} of its {} layers. Embedding, head and sampling "
        "count whole.",
        run.layers, run.full_layers));
  }
  if (!run.device.note.empty()) digest->notes.push_back(run.device.note);
  if (!run.device.sharing.empty()) digest->notes.push_back(run.device.sharing);
  int64_t fewer = 0;
  std::vector<const LatencyCell*> open;
  for (const LatencyCell& cell : digest->cells) {
    if (cell.total && cell.total->repeats < run.repeats) ++fewer;
    if (cell.status == CellStatus::kIncomplete) open.push_back(&cell);
  }
  // Tables name them all.
  constexpr size_t kShown = 4;
  for (size_t i = 0; i < std::min(open.size(), kShown); ++i) {
    const LatencyCell& cell = *open[i];
    digest->notes.push_back(
        cell.closure ? fmt::format("INCOMPLETE: {}: the phases miss the total by {}",
                                   cell_name(*digest, cell), percent(*cell.closure))
                     : fmt::format("INCOMPLETE: {}: no phases", cell_name(*digest, cell)));
  }
  if (open.size() > kShown) {
    digest->notes.push_back(
        fmt::format("INCOMPLETE: {} more ledgers, see the tables", open.size() - kShown));
  }
  if (fewer > 0) {
    digest->notes.push_back(
        fmt::format("{} of {} cells have fewer than the {} repeats asked for; tables say how many. "
                    "Fewer than {} give no interval.",
                    fewer, digest->cells.size(), run.repeats, kMinimumUnits));
  }
  check_verdicts(digest);
}

}  // namespace

std::optional<Timing> median_timing(std::span<const double> seconds,
                                    const StatisticsOptions& options) {
  if (seconds.empty()) return std::nullopt;
  BootstrapOptions bootstrap;
  bootstrap.resamples = options.resamples;
  bootstrap.seed = options.seed;
  const Estimate estimate = bootstrap_median(seconds, bootstrap);
  Timing timing{estimate.value, std::nullopt, std::ssize(seconds)};
  if (timing.repeats >= kMinimumUnits) timing.interval = estimate.interval;
  return timing;
}

std::string_view status_text(CellStatus status) {
  switch (status) {
    case CellStatus::kClosed:
      return "closes";
    case CellStatus::kIncomplete:
      return "INCOMPLETE";
    case CellStatus::kTooLarge:
      return "too large";
    case CellStatus::kSkipped:
      return "skipped";
    case CellStatus::kFailed:
      return "failed";
    case CellStatus::kMissing:
      break;
  }
  return "not measured";
}

const PhaseShare* LatencyCell::phase(std::string_view name) const {
  for (const PhaseShare& share : phases) {
    if (share.phase == name) return &share;
  }
  return nullptr;
}

double LatencyCell::tokens_per_second() const {
  const double tokens =
      static_cast<double>(batch) * (stage == "prefill" ? static_cast<double>(context) : 1.0);
  return tokens / total->seconds;
}

std::optional<double> LatencyCell::joules_per_token() const {
  if (!measured() || !power_watts) return std::nullopt;
  return *power_watts / tokens_per_second();
}

std::optional<double> LatencyCell::bank_seconds_per_evicted_token() const {
  const PhaseShare* bank = phase("bank");
  if (bank == nullptr || evicted_tokens <= 0) return std::nullopt;
  return bank->timing.seconds / evicted_tokens;
}

std::string BreakEven::text() const {
  const std::string range =
      low == high ? thousands(low) : fmt::format("{}\u2013{}", thousands(low), thousands(high));
  switch (kind) {
    case Kind::kAlways:
      return "faster at every context compared (" + range + ")";
    case Kind::kFrom:
      return fmt::format("faster from about {} tokens on", thousands(std::llround(context)));
    case Kind::kUntil:
      return fmt::format("faster up to about {} tokens only", thousands(std::llround(context)));
    case Kind::kNever:
      return "slower at every context compared (" + range + ")";
    case Kind::kUnknown:
      break;
  }
  return "no context where both were measured";
}

BreakEven break_even(const std::vector<int64_t>& contexts, const std::vector<double>& method,
                     const std::vector<double>& reference) {
  BreakEven result;
  if (contexts.empty()) return result;
  result.low = contexts.front();
  result.high = contexts.back();
  const auto faster = [&](size_t i) { return method[i] < reference[i]; };
  result.kind = faster(contexts.size() - 1) ? BreakEven::Kind::kAlways : BreakEven::Kind::kNever;
  for (size_t i = contexts.size() - 1; i-- > 0;) {
    if (faster(i) == faster(i + 1)) continue;
    const double before = method[i] - reference[i], after = method[i + 1] - reference[i + 1];
    const double share = before / (before - after);
    result.kind = faster(i) ? BreakEven::Kind::kUntil : BreakEven::Kind::kFrom;
    result.context = static_cast<double>(contexts[i]) +
                     share * static_cast<double>(contexts[i + 1] - contexts[i]);
    break;
  }
  return result;
}

const LatencyCell* LatencyDigest::find(std::string_view stage, int64_t batch, int64_t context,
                                       size_t method) const {
  for (const LatencyCell& cell : cells) {
    if (cell.stage == stage && cell.context == context && cell.method == method &&
        (stage == "capacity" || cell.batch == batch)) {
      return &cell;
    }
  }
  return nullptr;
}

std::vector<std::string> LatencyDigest::stages() const {
  return run->kind == RecordKind::kCapacity ? std::vector<std::string>{"capacity"} : run->stages;
}

std::vector<int64_t> LatencyDigest::batches() const {
  return run->kind == RecordKind::kCapacity ? std::vector<int64_t>{0} : run->batches;
}

std::vector<int64_t> LatencyDigest::contexts() const {
  std::vector<int64_t> sorted = run->contexts;
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

bool LatencyDigest::complete() const {
  if (run->status != "complete") return false;
  return std::none_of(cells.begin(), cells.end(), [](const LatencyCell& cell) {
    return cell.status == CellStatus::kIncomplete || cell.status == CellStatus::kFailed ||
           cell.status == CellStatus::kMissing || cell.status == CellStatus::kSkipped;
  });
}

LatencyDigest make_latency_digest(const LatencyRun& run, const StatisticsOptions& options) {
  LatencyDigest digest{&run, options, {}, {}, {}, {}, {}};
  const std::vector<std::string> labels = short_labels(run.methods);
  int coloured = 0;
  for (size_t m = 0; m < run.methods.size(); ++m) {
    const bool reference = is_reference(run.methods[m]);
    if (reference && !digest.reference) digest.reference = m;
    digest.methods.push_back(
        {run.methods[m], labels[m], reference ? reference_style() : method_style(coloured)});
    coloured += reference ? 0 : 1;
  }
  for (const std::string& stage : digest.stages()) {
    for (const int64_t batch : digest.batches()) {
      for (const int64_t context : digest.contexts()) {
        for (size_t m = 0; m < run.methods.size(); ++m) {
          if (!run.times(m, stage)) continue;
          LatencyCell cell;
          cell.method = m;
          cell.stage = stage;
          cell.batch = batch;
          cell.context = context;
          fill(run, options, &cell);
          digest.cells.push_back(std::move(cell));
        }
      }
    }
  }
  if (run.kind == RecordKind::kLatency) add_break_even(&digest);
  add_notes(&digest);
  return digest;
}

std::optional<double> weight_share(const LatencyDigest& digest, const LatencyCell& cell) {
  if (cell.stage == "prefill" || !cell.measured()) return std::nullopt;
  return static_cast<double>(digest.run->step_weight_bytes) /
         digest.run->ceilings.copy_bytes_per_second / cell.total->seconds;
}

}  // namespace kvg::reports
