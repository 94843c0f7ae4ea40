#include "bench/latency/run_record.h"

#include "base/build_info.h"
#include "base/error.h"
#include "base/sha256.h"

#include <nlohmann/json.hpp>

namespace kvg {

namespace {

using nlohmann::json;

constexpr int kRecordVersion = 1;

std::string dump(const json& value, int indent = -1) {
  return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

json to_json(const CacheBytes& bytes) {
  return {{"keys", bytes.keys},
          {"values", bytes.values},
          {"scales", bytes.scales},
          {"metadata", bytes.metadata},
          {"total", bytes.total()}};
}

json to_json(const GpuReading& reading) {
  json result = json::object();
  const auto put = [&result](const char* key, const std::optional<double>& value) {
    if (value) result[key] = *value;
  };
  put("sm_mhz", reading.sm_mhz);
  put("memory_mhz", reading.memory_mhz);
  put("power_watts", reading.power_watts);
  put("celsius", reading.celsius);
  if (!reading.held_back_by.empty()) result["held_back_by"] = reading.held_back_by;
  return result;
}

json to_json(const PhaseLedger& ledger) {
  json result = json::object();
  for (size_t p = 0; p < kPhases; ++p) {
    const PhaseWork& work = ledger[p];
    if (work.intervals == 0 && work.launches == 0) continue;
    result[std::string(phase_name(static_cast<Phase>(p)))] = {{"seconds", work.seconds},
                                                              {"intervals", work.intervals},
                                                              {"launches", work.launches},
                                                              {"bytes", work.bytes},
                                                              {"flops", work.flops}};
  }
  return result;
}

json request_json(const BenchRequest& request, const std::string& started,
                  const std::string& build) {
  json result = {{"schema_version", kRecordVersion},
                 {"kind", request.kind},
                 {"started", started},
                 {"seed", request.timing.seed},
                 {"build", build},
                 {"model",
                  {{"name", request.model},
                   {"hash", request.model_hash},
                   {"config", json::parse(request.model_config)},
                   {"layers", request.layers},
                   {"full_layers", request.full_layers}}},
                 {"ops", request.ops},
                 {"methods", request.methods},
                 {"contexts", request.contexts},
                 {"batches", request.batches},
                 {"repeats", request.repeats},
                 {"chunk", request.timing.chunk},
                 {"steps", request.timing.steps}};
  if (request.kind == "latency") {
    result["stages"] = request.stages;
    result["stride"] = request.timing.stride;
  }
  if (request.time_limit > 0) result["time_limit"] = request.time_limit;
  if (request.memory_limit > 0) result["memory_limit"] = request.memory_limit;
  return result;
}

json row_json(const RowPlace& place) {
  const int64_t key_batch = place.stage == "capacity" ? 0 : place.batch;
  return {
      {"key", place.method + "|" + std::to_string(place.context) + "|" + std::to_string(key_batch) +
                  "|" + place.stage + "|" + std::to_string(place.repeat)},
      {"method", place.method},
      {"context", place.context},
      {"batch", place.batch},
      {"stage", place.stage},
      {"repeat", place.repeat}};
}

json device_json(const BenchRecord::Machine& machine, const std::string& cpu) {
  json device = {{"name", machine.gpu.name.empty() ? cpu : machine.gpu.name},
                 {"before", to_json(machine.before)},
                 {"after", to_json(machine.after)}};
  if (machine.gpu.memory) device["memory"] = *machine.gpu.memory;
  if (!machine.gpu.driver.empty()) device["driver"] = machine.gpu.driver;
  if (machine.gpu.power_limit_watts) device["power_limit_watts"] = *machine.gpu.power_limit_watts;
  if (machine.gpu.processes.value_or(0) > 1) {
    device["sharing"] = "another process held memory on the same GPU";
  }
  if (!machine.note.empty()) device["note"] = machine.note;
  return device;
}

json provenance_json(const kvg::Machine& machine, int threads,
                     const std::vector<std::string>& command, const std::string& started) {
  const BuildInfo& build = build_info();
  json result = {{"tool", "kvgauge " + build.version},
                 {"git_commit", build.commit},
                 {"git_dirty", build.dirty},
                 {"compiler", build.compiler},
                 {"flags", build.flags},
                 {"cpu", machine.cpu},
                 {"cores", machine.cores},
                 {"os", machine.os},
                 {"started", started}};
  if (!command.empty()) result["command"] = command;
  if (threads > 0) result["threads"] = threads;
  return result;
}

json cell_json(const CellState& cell) {
  json result = {{"method", cell.method}, {"context", cell.context}, {"batch", cell.batch},
                 {"stage", cell.stage},   {"status", cell.status},   {"repeats", cell.repeats}};
  if (cell.closure) result["closure"] = *cell.closure;
  return result;
}

}  // namespace

std::filesystem::path BenchRecord::folder_of(const std::string& root, const std::string& folder,
                                             const std::string& run_id) {
  return folder.empty() ? std::filesystem::path(root) / run_id.substr(0, 16)
                        : std::filesystem::path(folder);
}

BenchRecord::BenchRecord(const std::string& root, const std::string& folder, BenchRequest request,
                         std::vector<std::string> command, int threads)
    : request_(std::move(request)),
      started_(utc_time()),
      build_(build_id()),
      request_json_(dump(request_json(request_, started_, build_))),
      run_id_(sha256(request_json_)),
      command_(std::move(command)),
      threads_(threads),
      folder_(folder_of(root, folder, run_id_)) {
  if (!folder_.lines().empty() || !folder_.read_run().empty()) {
    throw Error(folder_.path().string(), "", "a run", "an empty or new folder");
  }
}

void BenchRecord::add(const RowPlace& place, const Observation& observation,
                      const RowFacts& facts) {
  json row = row_json(place);
  row["seconds"] = observation.seconds;
  if (observation.traced_seconds) row["traced_seconds"] = *observation.traced_seconds;
  if (observation.without_bank_seconds) {
    row["without_bank_seconds"] = *observation.without_bank_seconds;
  }
  if (observation.ledger) {
    row["phases"] = to_json(*observation.ledger);
    row["interval_seconds"] = observation.interval_seconds;
    if (observation.overlap_seconds) row["overlap_seconds"] = *observation.overlap_seconds;
  }
  if (observation.steps > 0) row["steps"] = observation.steps;
  row["evicted_tokens"] = observation.evicted_tokens;
  row["cache_bytes"] = to_json(facts.cache_bytes);
  row["provisioned_tokens"] = facts.provisioned;
  if (facts.memory_used) row["memory_used"] = *facts.memory_used;
  if (facts.gpu.sm_mhz) row["sm_mhz"] = *facts.gpu.sm_mhz;
  if (facts.gpu.power_watts) row["power_watts"] = *facts.gpu.power_watts;
  if (facts.gpu.held_back) row["held_back"] = *facts.gpu.held_back;
  if (!facts.gpu.held_back_by.empty()) row["held_back_by"] = facts.gpu.held_back_by;
  if (place.stage == "capacity") {
    row["bound_batch"] = facts.bound_batch;
    row["attempts"] = json::array();
    for (const auto& [batch, fits] : facts.attempts) {
      row["attempts"].push_back({{"batch", batch}, {"fits", fits}});
    }
  }
  folder_.append(dump(row));
}

void BenchRecord::add_too_large(const RowPlace& place, uint64_t needed, uint64_t available) {
  json row = row_json(place);
  row["needed_bytes"] = needed;
  row["available_bytes"] = available;
  folder_.append(dump(row));
}

void BenchRecord::add_skipped(const RowPlace& place, double predicted_seconds) {
  json row = row_json(place);
  row["predicted_seconds"] = predicted_seconds;
  folder_.append(dump(row));
}

void BenchRecord::add_failed(const RowPlace& place, std::string_view error) {
  json row = row_json(place);
  row["error"] = printable(error, 500);
  folder_.append(dump(row));
}

void BenchRecord::write(const std::string& status, const std::string& error) {
  const kvg::Machine host = this_machine();
  json provenance = provenance_json(host, threads_, command_, started_);
  if (status != "running") provenance["finished"] = utc_time();
  const MachineCeilings& ceilings = machine.ceilings;
  json run = {
      {"schema_version", kRecordVersion},
      {"kind", request_.kind},
      {"run_id", run_id_},
      {"status", status},
      {"request", json::parse(request_json_)},
      {"provenance", std::move(provenance)},
      {"device", device_json(machine, host.cpu)},
      {"ceilings",
       {{"copy_bytes_per_second", ceilings.copy_bytes_per_second},
        {"copy_bytes", ceilings.copy_bytes},
        {"linear_flops_per_second", ceilings.linear_flops_per_second},
        {"linear_shape", ceilings.linear_shape}}},
      {"weights", {{"bytes", machine.weight_bytes}, {"step_bytes", machine.step_weight_bytes}}},
      {"planned_items", planned},
      {"seconds",
       std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count()}};
  if (!error.empty()) run["error"] = error;
  if (!machine.calibration.empty()) run["calibration"] = machine.calibration;
  if (request_.kind == "latency") {
    run["cells"] = json::array();
    for (const CellState& cell : cells) run["cells"].push_back(cell_json(cell));
  }
  folder_.write_run(dump(run, 2) + "\n");
}

}  // namespace kvg
