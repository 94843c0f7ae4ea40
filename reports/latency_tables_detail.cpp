#include "reports/charts/curve_chart.h"
#include "reports/latency_tables.h"
#include "reports/text.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr const char* kNone = "\u2013";

std::string printed(const std::optional<double>& value, int decimals, const char* unit) {
  return value ? fixed(*value, decimals) + " " + unit : "unknown";
}

std::string printed(const DeviceReading& reading) {
  if (!reading.sm_mhz && !reading.power_watts && !reading.celsius) return "unknown";
  std::string text =
      fmt::format("SM {}, memory {}, {}, {}", printed(reading.sm_mhz, 0, "MHz"),
                  printed(reading.memory_mhz, 0, "MHz"), printed(reading.power_watts, 0, "W"),
                  printed(reading.celsius, 0, "\u00B0C"));
  if (!reading.held_back_by.empty()) text += ", held back by " + reading.held_back_by;
  return text;
}

Cell energy_cell(const LatencyCell& cell) {
  const std::optional<double> joules = cell.joules_per_token();
  if (!joules) return {kNone, ""};
  return {fixed(1e3 * *joules, *joules < 0.1 ? 1 : 0) + " mJ", fixed(*cell.power_watts, 0) + " W"};
}

// What was taken off the phases, by stage and batch.
std::string interval_costs(const LatencyDigest& digest) {
  std::map<std::string, double> costs;
  for (const LatencyCell& cell : digest.cells) {
    if (!cell.measured() || cell.phases.empty()) continue;
    costs[cell.stage == "prefill" ? cell.stage
                                  : fmt::format("{}, batch {}", cell.stage, cell.batch)] =
        cell.interval_seconds;
  }
  std::string text;
  for (const auto& [place, seconds] : costs) {
    text += fmt::format("{}{} {}", text.empty() ? "" : "; ", place, time_text(seconds));
  }
  return text + ", taken off each";
}

}  // namespace

Table capacity_table(const LatencyDigest& digest) {
  Table table;
  table.columns = {{"Method", false},
                   {"Context"},
                   {"Largest batch"},
                   {"Bound", true, "by bytes"},
                   {"Tried", false, "\u2713 ran, \u2717 did not fit"},
                   {"Time per token", true, "95 %"},
                   {"Tokens / s", true, "whole batch"},
                   {"Energy per token", true, "of the device, at"},
                   {"Caches", true, "by formula"},
                   {"Device memory", true, "really used"}};
  int64_t last = 0;
  for (const LatencyCell& cell : digest.cells) {
    if (cell.stage != "capacity" || !cell.measured()) continue;
    if (last != 0 && cell.context != last) table.rules.push_back(table.rows.size());
    last = cell.context;
    std::string tried;
    for (const BatchAttempt& attempt : cell.attempts) {
      tried += fmt::format("{}{} {}", tried.empty() ? "" : ", ", thousands(attempt.batch),
                           attempt.fits ? "\u2713" : "\u2717");
    }
    const LatencyMethod& method = digest.methods[cell.method];
    const double bytes =
        static_cast<double>(cell.cache_bytes.total) * static_cast<double>(cell.batch);
    table.rows.push_back(
        {{method.label, "", std::nullopt, method.style.css_class, method.method},
         {thousands(cell.context), ""},
         {thousands(cell.batch), ""},
         {thousands(cell.bound_batch), ""},
         {tried, ""},
         timing_cell(cell.total),
         {thousands(std::llround(cell.tokens_per_second())), ""},
         energy_cell(cell),
         {human_bytes(bytes), ""},
         {cell.memory_used ? human_bytes(static_cast<double>(*cell.memory_used)) : kNone, ""}});
  }
  return table;
}

Table unmeasured_table(const LatencyDigest& digest) {
  Table table;
  table.columns = {{"Method", false}, {"Context"}, {"Batch"},
                   {"Stage", false},  {"", false}, {"Why", false}};
  for (const LatencyCell& cell : digest.cells) {
    if (cell.measured() && cell.error.empty()) continue;
    const LatencyMethod& method = digest.methods[cell.method];
    std::string why = cell.error;
    if (cell.needed) {
      why = fmt::format("{} of caches and buffers, {} free",
                        human_bytes(static_cast<double>(*cell.needed)),
                        human_bytes(static_cast<double>(*cell.available)));
    } else if (cell.predicted) {
      why = fmt::format("not measured: {} predicted, and the time limit came first",
                        time_text(*cell.predicted));
    } else if (why.empty()) {
      why = "no line in the record: not asked for, or the run ended before it";
    }
    table.rows.push_back(
        {{method.label, "", std::nullopt, method.style.css_class, method.method},
         {thousands(cell.context), ""},
         {cell.batch > 0 ? thousands(cell.batch) : kNone, ""},
         {cell.stage, ""},
         {cell.error.empty() ? std::string(status_text(cell.status)) : "failed", ""},
         {why, ""}});
  }
  return table;
}

Table machine_table(const LatencyDigest& digest) {
  const LatencyRun& run = *digest.run;
  Table table;
  table.columns = {{"Property", false}, {"Value", false}};
  const auto row = [&table](const std::string& name, const std::string& value) {
    table.rows.push_back({{name, ""}, {value, ""}});
  };
  const Ceilings& ceilings = run.ceilings;
  row("device", run.device.name);
  if (run.device.memory) row("memory", human_bytes(static_cast<double>(*run.device.memory)));
  if (!run.device.driver.empty()) row("driver", run.device.driver);
  if (run.device.power_limit_watts) {
    row("power limit", printed(run.device.power_limit_watts, 0, "W"));
  }
  row("before", printed(run.device.before));
  row("after", printed(run.device.after));
  row("ceiling: a copy",
      fmt::format("{}B/s read and written ({} moved)", si_number(ceilings.copy_bytes_per_second),
                  human_bytes(static_cast<double>(ceilings.copy_bytes))));
  std::string shape;
  for (const int64_t extent : ceilings.linear_shape) {
    shape += (shape.empty() ? "" : " \u00D7 ") + thousands(extent);
  }
  row("ceiling: a product",
      fmt::format("{}FLOP/s ({})", si_number(ceilings.linear_flops_per_second), shape));
  if (!run.calibration.empty()) {
    row("cost of a timed interval", interval_costs(digest));
    row("calibration", run.calibration);
  }
  row("weights", fmt::format("{} resident, {} read by a decode step",
                             human_bytes(static_cast<double>(run.weight_bytes)),
                             human_bytes(static_cast<double>(run.step_weight_bytes))));
  row("layers",
      run.sliced() ? fmt::format("{} of {}", run.layers, run.full_layers) : thousands(run.layers));
  row("operations", run.ops);
  row("prefill", fmt::format("in calls of at most {} rows", thousands(run.chunk)));
  std::string decode = thousands(run.steps) + " steps a timing";
  if (run.kind == RecordKind::kLatency) {
    decode += run.stride == 1 ? "; a traced step times every layer"
                              : fmt::format("; a traced step times one of {} layers", run.stride);
  }
  row("decode", decode);
  row("repeats asked for", thousands(run.repeats));
  if (run.time_limit) row("time limit", fixed(*run.time_limit, 0) + " s");
  if (run.memory_limit) row("memory limit", human_bytes(static_cast<double>(*run.memory_limit)));
  row("model hash", run.model_hash);
  row("run", run.run_id);
  row("build", run.build);
  row("seed", std::to_string(run.seed));
  for (const auto& [name, value] : run.provenance) row(name, value);
  return table;
}

}  // namespace kvg::reports
