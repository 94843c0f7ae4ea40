#include "reports/synthetic_latency.h"

#include "base/random.h"
#include "base/sha256.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include <nlohmann/json.hpp>

namespace kvg::reports {

namespace {

using nlohmann::json;

constexpr double kBandwidth = 4.25e12, kRate = 770e12;
constexpr double kWeights = 14.2e9, kLayers = 32;
constexpr double kTokenBytes = 131072;  // of K and V, all layers

struct Cell {
  std::string method;
  int64_t context = 0, batch = 1;

  bool full() const { return method.starts_with("full"); }
  bool bank() const { return method.starts_with("landmark"); }
  double cached() const { return full() ? static_cast<double>(context) : 384; }
  double cache_bytes() const {
    return cached() * kTokenBytes * (method.find("eden") != std::string::npos ? 0.3 : 1);
  }
};

json phase(double seconds, int64_t intervals, double bytes, double flops) {
  return {{"seconds", seconds},
          {"intervals", intervals},
          {"launches", 2 * intervals},
          {"bytes", static_cast<int64_t>(bytes)},
          {"flops", static_cast<int64_t>(flops)}};
}

// Work of a phase at some share of the ceilings.
json work(double bytes, double flops, double share, int64_t intervals, double factor) {
  const double seconds = std::max(bytes / kBandwidth, flops / kRate) / share;
  return phase(seconds * factor, intervals, bytes, flops);
}

json phases_of(const Cell& cell, const std::string& stage, double factor) {
  const bool decode = stage == "decode";
  const double tokens =
      static_cast<double>(cell.batch) * (decode ? 1.0 : static_cast<double>(cell.context));
  const double reads = static_cast<double>(cell.batch) * cell.cache_bytes();
  const double attended = decode ? cell.cached() : 0.5 * cell.cached();
  const auto product = [&](double share_of_weights) {
    const double bytes = kWeights * share_of_weights + tokens * 2 * 4096 * 2 * kLayers;
    return work(bytes, tokens * kWeights * share_of_weights, 0.85, 32, factor);
  };
  json phases = {
      {"embed", work(tokens * 16384, 0, 0.3, 1, factor)},
      {"qkv", product(0.11)},
      {"rope", work(tokens * 24576 * kLayers, 0, 0.5, 32, factor)},
      {"attention", work(reads, tokens * attended * 4 * 4096 * kLayers, 0.6, 32, factor)},
      {"output", product(0.08)},
      {"mlp", product(0.79)},
      {"head", work(2.6e8, static_cast<double>(cell.batch) * 2.6e8, 0.8, 1, factor)},
      {"sample", phase(8e-6 * factor, 1, 64000.0 * static_cast<double>(cell.batch), 0)}};
  if (cell.bank()) {
    phases["bank"] = phase((decode ? 3e-5 : 2e-7 * tokens) * factor, decode ? 1 : 32, tokens * 3000,
                           tokens * 100000);
  }
  return phases;
}

json request_of(const SyntheticLatencyOptions& options, const std::string& kind) {
  json request = {{"schema_version", 1},
                  {"kind", kind},
                  {"started", "2026-01-01T00:00:00Z"},
                  {"seed", 0},
                  {"build", "0123456789abcdef"},
                  {"model",
                   {{"name", "mistral-7b"},
                    {"hash", std::string(64, 'a')},
                    {"config", json::object()},
                    {"layers", options.sliced ? 4 : 32},
                    {"full_layers", 32}}},
                  {"ops", "cuda"},
                  {"methods", options.methods},
                  {"contexts", options.contexts},
                  {"batches", kind == "latency" ? options.batches : std::vector<int64_t>{}},
                  {"repeats", options.repeats},
                  {"chunk", 4096},
                  {"steps", 64}};
  if (kind == "latency") {
    request["stages"] = {"prefill", "decode"};
    request["stride"] = 4;
  }
  return request;
}

void write_run(const std::filesystem::path& directory, const json& request, const json& cells,
               int64_t planned) {
  json run = {
      {"schema_version", 1},
      {"kind", request["kind"]},
      {"run_id", sha256(request.dump())},
      {"status", "complete"},
      {"request", request},
      {"provenance",
       {{"tool", "kvgauge 0.1.0"},
        {"git_commit", std::string(40, 'c')},
        {"git_dirty", false},
        {"command", {"kvgauge", "bench", request["kind"]}}}},
      {"device",
       {{"name", "NVIDIA H200"},
        {"memory", 150000000000},
        {"driver", "580.65"},
        {"power_limit_watts", 700},
        {"before", {{"sm_mhz", 1980}, {"memory_mhz", 3201}, {"power_watts", 90}, {"celsius", 31}}},
        {"after",
         {{"sm_mhz", 1755},
          {"power_watts", 640},
          {"celsius", 58},
          {"held_back_by", "power cap"}}}}},
      {"ceilings",
       {{"copy_bytes_per_second", kBandwidth},
        {"copy_bytes", 4294967296},
        {"linear_flops_per_second", kRate},
        {"linear_shape", {8192, 8192, 8192}}}},
      {"calibration", "invented"},
      {"weights", {{"bytes", 14460000000}, {"step_bytes", static_cast<int64_t>(kWeights)}}},
      {"planned_items", planned},
      {"seconds", 321.5}};
  if (request["kind"] == "latency") run["cells"] = cells;
  std::ofstream(directory / "run.json") << run.dump(2) << "\n";
}

json row_of(const Cell& cell, const std::string& stage, int64_t repeat) {
  const int64_t batch = stage == "capacity" ? 0 : cell.batch;
  return {{"key", cell.method + "|" + std::to_string(cell.context) + "|" + std::to_string(batch) +
                      "|" + stage + "|" + std::to_string(repeat)},
          {"method", cell.method},
          {"context", cell.context},
          {"batch", cell.batch},
          {"stage", stage},
          {"repeat", repeat}};
}

void add_bytes(const Cell& cell, json* row) {
  const auto half = static_cast<int64_t>(cell.cache_bytes() / 2);
  (*row)["cache_bytes"] = {
      {"keys", half}, {"values", half}, {"scales", 0}, {"metadata", 0}, {"total", 2 * half}};
  (*row)["provisioned_tokens"] = cell.context + 200;
  (*row)["memory_used"] = static_cast<int64_t>(2.02 * static_cast<double>(half * cell.batch));
  (*row)["sm_mhz"] = 1755;
  (*row)["power_watts"] = 642.5;
  (*row)["held_back"] = 0.25;
  (*row)["held_back_by"] = "power cap";
}

double total_of(const json& phases) {
  double sum = 0;
  for (const auto& [name, phase] : phases.items()) sum += phase["seconds"].get<double>();
  return sum;
}

json measured_row(const Cell& cell, const std::string& stage, int64_t repeat,
                  const SyntheticLatencyOptions& options, Random* random) {
  json row = row_of(cell, stage, repeat);
  json phases = phases_of(cell, stage, 1 + options.noise * random->normal());
  const double parts = total_of(phases_of(cell, stage, 1));
  const double total = parts / (1 - options.missing) * (1 + options.noise * random->normal());
  row["seconds"] = total;
  row["traced_seconds"] = total * 1.01;
  if (cell.bank()) {
    row["without_bank_seconds"] =
        total - phases["bank"]["seconds"].get<double>() * (1 + 0.1 * random->normal());
    row["evicted_tokens"] = static_cast<double>(cell.batch) *
                            (stage == "decode" ? 1.0 : static_cast<double>(cell.context - 256));
  }
  row["phases"] = std::move(phases);
  row["interval_seconds"] = stage == "decode" ? 1.7e-6 : 9e-7;
  if (stage == "decode") {
    row["overlap_seconds"] = 0.02 * total;
    row["steps"] = 64;
  }
  add_bytes(cell, &row);
  return row;
}

}  // namespace

void write_synthetic_latency(const std::filesystem::path& directory,
                             const SyntheticLatencyOptions& options) {
  std::filesystem::create_directories(directory);
  std::ofstream items(directory / "items.jsonl");
  Random random(options.seed);
  json cells = json::array();
  int64_t planned = 0;
  for (const std::string& method : options.methods) {
    for (const int64_t context : options.contexts) {
      for (const int64_t batch : options.batches) {
        const Cell cell{method, context, batch};
        for (const char* stage : {"prefill", "decode"}) {
          const double needed = cell.cache_bytes() * static_cast<double>(batch);
          planned += options.repeats;
          json state = {{"method", method}, {"context", context}, {"batch", batch},
                        {"stage", stage},   {"repeats", 0},       {"status", "too large"}};
          if (needed > options.memory) {
            json row = row_of(cell, stage, 0);
            row["needed_bytes"] = static_cast<int64_t>(needed);
            row["available_bytes"] = static_cast<int64_t>(options.memory);
            items << row.dump() << "\n";
          } else {
            for (int64_t repeat = 0; repeat < options.repeats; ++repeat) {
              items << measured_row(cell, stage, repeat, options, &random).dump() << "\n";
            }
            state["repeats"] = options.repeats;
            state["status"] = options.missing <= 0.03 ? "closed" : "incomplete";
          }
          cells.push_back(std::move(state));
        }
      }
    }
  }
  write_run(directory, request_of(options, "latency"), cells, planned);
}

void write_synthetic_capacity(const std::filesystem::path& directory,
                              const SyntheticLatencyOptions& options) {
  std::filesystem::create_directories(directory);
  std::ofstream items(directory / "items.jsonl");
  Random random(options.seed);
  int64_t planned = 0;
  for (const std::string& method : options.methods) {
    for (const int64_t context : options.contexts) {
      Cell cell{method, context, 1};
      const auto bound = static_cast<int64_t>(options.memory / cell.cache_bytes());
      planned += options.repeats;
      if (bound == 0) {
        json row = row_of(cell, "capacity", 0);
        row["batch"] = 0;
        row["needed_bytes"] = static_cast<int64_t>(cell.cache_bytes());
        row["available_bytes"] = static_cast<int64_t>(options.memory);
        items << row.dump() << "\n";
        continue;
      }
      cell.batch = std::max<int64_t>(1, bound - bound / 32);
      for (int64_t repeat = 0; repeat < options.repeats; ++repeat) {
        json row = row_of(cell, "capacity", repeat);
        row["seconds"] =
            total_of(phases_of(cell, "decode", 1)) * (1 + options.noise * random.normal());
        row["steps"] = 64;
        row["bound_batch"] = bound;
        row["attempts"] = json::array({{{"batch", bound}, {"fits", bound == cell.batch}},
                                       {{"batch", cell.batch}, {"fits", true}}});
        add_bytes(cell, &row);
        items << row.dump() << "\n";
      }
    }
  }
  write_run(directory, request_of(options, "capacity"), json(), planned);
}

}  // namespace kvg::reports
