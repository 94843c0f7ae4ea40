#include "reports/latency_tables.h"

#include "base/names.h"
#include "reports/charts/curve_chart.h"
#include "reports/tables.h"
#include "reports/text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr const char* kNone = "\u2013";

struct TimeUnit {
  double factor;
  const char* name;
};

TimeUnit unit_of(double seconds) {
  const double size = std::abs(seconds);
  if (size >= 0.9995) return {1, "s"};
  if (size >= 0.9995e-3) return {1e3, "ms"};
  if (size >= 0.9995e-6 || size == 0) return {1e6, "\u00B5s"};
  return {1e9, "ns"};
}

int decimals_of(double value) {
  const double size = std::abs(value);
  return size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
}

std::string in_unit(double seconds, const TimeUnit& unit, double like) {
  return fixed(seconds * unit.factor, decimals_of(like * unit.factor));
}

Cell name_cell(const LatencyDigest& digest, size_t method) {
  const LatencyMethod& m = digest.methods[method];
  return {m.label, "", std::nullopt, m.style.css_class, m.method};
}

// Method, context, batch: how every row of a table of cells begins.
std::vector<Cell> key_cells(const LatencyDigest& digest, const LatencyCell& cell) {
  return {name_cell(digest, cell.method),
          {thousands(cell.context), ""},
          {cell.batch > 0 ? thousands(cell.batch) : kNone, ""}};
}

const std::vector<Column> kKeyColumns = {{"Method", false}, {"Context"}, {"Batch"}};

// A line above each row whose batch or context differs from the one before.
void rule_before(Table* table, const LatencyCell& cell, const LatencyCell** last) {
  if (*last != nullptr && (cell.batch != (*last)->batch || cell.context != (*last)->context)) {
    table->rules.push_back(table->rows.size());
  }
  *last = &cell;
}

Cell status_cell(const LatencyCell& cell) {
  Cell result{std::string(status_text(cell.status)), ""};
  if (cell.closure) {
    // The sign of the sum of the phases less the total.
    result.detail =
        fmt::format("off by {}{}", cell.gaps > 0 ? "\u2212" : "+", percent(*cell.closure));
  }
  if (cell.predicted) result.detail = fmt::format("{} predicted", time_text(*cell.predicted));
  if (cell.status == CellStatus::kTooLarge && cell.needed) {
    result.detail = "needs " + human_bytes(static_cast<double>(*cell.needed));
  }
  return result;
}

Cell clock_cell(const LatencyCell& cell) {
  if (!cell.sm_mhz || !cell.power_watts) return {kNone, ""};
  Cell result{fixed(*cell.sm_mhz, 0) + " MHz", fixed(*cell.power_watts, 0) + " W"};
  if (cell.held_back && *cell.held_back > 0) {
    result.detail += fmt::format(", held back {} of the time", percent(*cell.held_back));
  }
  return result;
}

std::string rate_text(double tokens_per_second) {
  return tokens_per_second >= 100 ? thousands(std::llround(tokens_per_second))
                                  : fixed(tokens_per_second, 1);
}

Cell against_reference(const LatencyDigest& digest, const LatencyCell& cell) {
  if (!digest.reference || cell.method == *digest.reference) return {kNone, ""};
  const LatencyCell* reference =
      digest.find(cell.stage, cell.batch, cell.context, *digest.reference);
  if (reference == nullptr || !reference->measured() || !cell.measured()) return {kNone, ""};
  return {fixed(cell.total->seconds / reference->total->seconds, 2) + "\u00D7", ""};
}

}  // namespace

std::string time_text(double seconds) {
  const TimeUnit unit = unit_of(seconds);
  return in_unit(seconds, unit, seconds) + "\u00A0" + unit.name;
}

Cell timing_cell(const std::optional<Timing>& timing) {
  if (!timing) return {kNone, ""};
  Cell cell{time_text(timing->seconds), ""};
  const TimeUnit unit = unit_of(timing->seconds);
  cell.detail =
      timing->interval
          ? fmt::format("[{}, {}] n = {}", in_unit(timing->interval->low, unit, timing->seconds),
                        in_unit(timing->interval->high, unit, timing->seconds), timing->repeats)
          : fmt::format("n = {}", timing->repeats);
  return cell;
}

Table latency_table(const LatencyDigest& digest, const std::string& stage) {
  const bool decode = stage == "decode";
  Table table;
  table.columns = kKeyColumns;
  table.columns.push_back({decode ? "Time per token" : "Time to first token", true, "95 %"});
  table.columns.push_back({"Tokens / s", true, "whole batch"});
  table.columns.push_back({"Against full", true, "time"});
  table.columns.push_back({"Attention", true, "of the time"});
  table.columns.push_back({"Bank update", true, "of the time"});
  if (decode) table.columns.push_back({"Weights' floor", true, "of the time"});
  // Records from before clocks and power were followed have no such column.
  const bool followed =
      std::any_of(digest.cells.begin(), digest.cells.end(),
                  [&](const LatencyCell& cell) { return cell.stage == stage && cell.power_watts; });
  if (followed) table.columns.push_back({"SM clock", true, "mean, power"});
  table.columns.push_back({"Ledger"});
  const LatencyCell* last = nullptr;
  for (const LatencyCell& cell : digest.cells) {
    if (cell.stage != stage || cell.status == CellStatus::kMissing) continue;
    rule_before(&table, cell, &last);
    std::vector<Cell> row = key_cells(digest, cell);
    const auto share = [&](const char* phase) -> Cell {
      const PhaseShare* part = cell.phase(phase);
      if (part == nullptr) return {kNone, ""};
      return {percent(part->timing.seconds / cell.total->seconds), ""};
    };
    row.push_back(timing_cell(cell.total));
    row.push_back({cell.measured() ? rate_text(cell.tokens_per_second()) : kNone, ""});
    row.push_back(against_reference(digest, cell));
    row.push_back(share("attention"));
    row.push_back(share("bank"));
    if (decode) {
      const auto floor = weight_share(digest, cell);
      row.push_back({floor ? percent(*floor) : kNone, ""});
    }
    if (followed) row.push_back(clock_cell(cell));
    row.push_back(status_cell(cell));
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table ledger_table(const LatencyDigest& digest, const std::string& stage) {
  Table table;
  table.columns = kKeyColumns;
  for (const std::string_view phase : kPhaseNames) table.columns.push_back({std::string(phase)});
  table.columns.push_back({"gaps"});
  table.columns.push_back({"total"});
  table.columns.push_back({"traced"});
  // Records from before it was told apart have none.
  const bool overlaps = std::any_of(
      digest.cells.begin(), digest.cells.end(),
      [&](const LatencyCell& cell) { return cell.stage == stage && cell.overlap.has_value(); });
  if (overlaps) table.columns.push_back({"overlap"});
  const LatencyCell* last = nullptr;
  for (const LatencyCell& cell : digest.cells) {
    if (cell.stage != stage || !cell.measured() || cell.phases.empty()) continue;
    rule_before(&table, cell, &last);
    std::vector<Cell> row = key_cells(digest, cell);
    const auto part = [&](double seconds) -> Cell {
      return {time_text(seconds), percent(seconds / cell.total->seconds)};
    };
    for (const std::string_view name : kPhaseNames) {
      const PhaseShare* phase = cell.phase(name);
      row.push_back(phase != nullptr ? part(phase->timing.seconds) : Cell{kNone, ""});
    }
    row.push_back(part(cell.gaps));
    row.push_back({time_text(cell.total->seconds), fmt::format("n = {}", cell.total->repeats)});
    row.push_back({cell.traced ? time_text(cell.traced->seconds) : kNone, ""});
    if (overlaps) row.push_back(cell.overlap ? part(cell.overlap->seconds) : Cell{kNone, ""});
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table roofline_table(const LatencyDigest& digest, const std::string& stage) {
  Table table;
  table.columns = kKeyColumns;
  for (const Column& column : std::vector<Column>{{"Phase", false},
                                                  {"Time", true, "95 %"},
                                                  {"Launches"},
                                                  {"Bytes", true, "declared"},
                                                  {"FLOP", true, "declared"},
                                                  {"Bytes / s"},
                                                  {"FLOP / s"},
                                                  {"Least time", true, "at the ceilings"},
                                                  {"Of the ceiling"},
                                                  {"Bound by", false}}) {
    table.columns.push_back(column);
  }
  const LatencyCell* last = nullptr;
  for (const LatencyCell& cell : digest.cells) {
    if (cell.stage != stage || !cell.measured()) continue;
    for (const PhaseShare& phase : cell.phases) {
      if (phase.least_seconds <= 0 || phase.timing.seconds <= 0) continue;
      rule_before(&table, cell, &last);
      std::vector<Cell> row = key_cells(digest, cell);
      const double seconds = phase.timing.seconds;
      const auto bytes = static_cast<double>(phase.bytes);
      const auto flops = static_cast<double>(phase.flops);
      row.push_back({phase.phase, ""});
      row.push_back(timing_cell(phase.timing));
      row.push_back({thousands(phase.launches), ""});
      row.push_back({human_bytes(bytes), ""});
      row.push_back({flops > 0 ? si_number(flops) : kNone, ""});
      row.push_back({si_number(bytes / seconds), ""});
      row.push_back({flops > 0 ? si_number(flops / seconds) : kNone, ""});
      row.push_back({time_text(phase.least_seconds), ""});
      row.push_back({percent(phase.roof_share), ""});
      row.push_back({phase.compute_bound ? "arithmetic" : "memory", ""});
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

Table bank_table(const LatencyDigest& digest) {
  Table table;
  table.columns = {{"Method", false},
                   {"Context"},
                   {"Batch"},
                   {"Stage", false},
                   {"By its phase", true, "95 %"},
                   {"By removal", true, "95 %"},
                   {"Of the time"},
                   {"Evicted", true, "tokens"},
                   {"Per evicted token", true, "all layers"},
                   {"By removal", true, "per token"}};
  const LatencyCell* last = nullptr;
  for (const LatencyCell& cell : digest.cells) {
    const auto per_token = cell.bank_seconds_per_evicted_token();
    if (!cell.removed && !per_token) continue;
    rule_before(&table, cell, &last);
    std::vector<Cell> row = key_cells(digest, cell);
    const PhaseShare* bank = cell.phase("bank");
    row.push_back({cell.stage, ""});
    row.push_back(timing_cell(bank != nullptr ? std::optional(bank->timing) : std::nullopt));
    row.push_back(timing_cell(cell.removed));
    row.push_back(
        {bank != nullptr ? percent(bank->timing.seconds / cell.total->seconds) : kNone, ""});
    row.push_back({cell.evicted_tokens >= 100 ? thousands(std::llround(cell.evicted_tokens))
                                              : fixed(cell.evicted_tokens, 1),
                   cell.stage == "decode" ? "a step" : "a pass"});
    row.push_back({per_token ? time_text(*per_token) : kNone, ""});
    row.push_back({cell.removed && cell.evicted_tokens > 0
                       ? time_text(cell.removed->seconds / cell.evicted_tokens)
                       : kNone,
                   ""});
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table break_even_table(const LatencyDigest& digest) {
  Table table;
  table.columns = {{"Method", false}, {"Batch"}, {"Stage", false}, {"Against full", false}};
  for (const BreakEven& result : digest.break_even) {
    table.rows.push_back({name_cell(digest, result.method),
                          {thousands(result.batch), ""},
                          {result.stage, ""},
                          {result.text(), ""}});
  }
  return table;
}

Table latency_memory_table(const LatencyDigest& digest) {
  Table table;
  table.columns = {{"Method", false},
                   {"Context"},
                   {"Batch"},
                   {"A sequence", true, "by formula"},
                   {"Room for", true, "tokens"},
                   {"The batch", true, "by formula"},
                   {"Device memory", true, "really used"},
                   {"Of full", true, "by formula"}};
  const LatencyCell* last = nullptr;
  for (const LatencyCell& cell : digest.cells) {
    const bool decodes = std::find(digest.run->stages.begin(), digest.run->stages.end(),
                                   "decode") != digest.run->stages.end();
    if (!cell.measured() || (decodes && cell.stage == "prefill")) continue;
    rule_before(&table, cell, &last);
    std::vector<Cell> row = key_cells(digest, cell);
    const auto one = static_cast<double>(cell.cache_bytes.total);
    row.push_back({human_bytes(one), ""});
    row.push_back({thousands(cell.provisioned_tokens), ""});
    row.push_back({human_bytes(one * static_cast<double>(cell.batch)), ""});
    row.push_back(
        {cell.memory_used ? human_bytes(static_cast<double>(*cell.memory_used)) : kNone, ""});
    const LatencyCell* reference =
        digest.reference ? digest.find(cell.stage, cell.batch, cell.context, *digest.reference)
                         : nullptr;
    const bool known = reference != nullptr && reference->measured();
    row.push_back(
        {known ? ratio_text(one, static_cast<double>(reference->cache_bytes.total)) : kNone, ""});
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table latency_method_table(const LatencyDigest& digest) {
  Table table;
  table.columns = {{"Name", false}, {"Method", false}};
  for (size_t m = 0; m < digest.methods.size(); ++m) {
    table.rows.push_back({name_cell(digest, m), {digest.methods[m].method, ""}});
  }
  return table;
}

}  // namespace kvg::reports
