#include "reports/latency_record.h"

#include "base/error.h"
#include "base/names.h"
#include "base/sha256.h"
#include "reports/json_fields.h"
#include "reports/labels.h"
#include "reports/line_reader.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <unordered_set>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

using nlohmann::json;

constexpr int64_t kSchemaVersion = 1;

json parse_run(const std::filesystem::path& directory) {
  if (!std::filesystem::is_directory(directory)) {
    throw Error(directory.string(), "", std::filesystem::exists(directory) ? "a file" : "nothing",
                "a run folder (with run.json and items.jsonl)");
  }
  const std::filesystem::path path = directory / "run.json";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path.string(), "", "nothing", "a run record (a folder with run.json)");
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  json parsed = json::parse(bytes, nullptr, false);
  if (parsed.is_discarded()) throw Error(path.string(), "", printable(bytes, 60), "valid JSON");
  return parsed;
}

RecordKind kind_of(const Fields& run) {
  if (!run.has("kind")) return RecordKind::kEvaluation;
  const std::string kind = run.text("kind");
  if (kind == "latency") return RecordKind::kLatency;
  if (kind == "capacity") return RecordKind::kCapacity;
  run.fail("kind", json(kind), "latency or capacity, or no kind (an evaluation)");
}

std::optional<double> optional_number(const Fields& fields, const char* key) {
  return fields.has(key) ? std::optional(fields.number(key)) : std::nullopt;
}

std::optional<int64_t> optional_integer(const Fields& fields, const char* key) {
  return fields.has(key) ? std::optional(fields.integer(key)) : std::nullopt;
}

// A time or a rate: more than 0.
double positive(const Fields& fields, const char* key) {
  const double value = fields.number(key);
  if (!(value > 0)) fields.fail(key, json(value), "a number greater than 0");
  return value;
}

std::vector<std::string> texts(const Fields& fields, const char* key) {
  std::vector<std::string> values;
  for (const json& value : fields.array(key)) {
    if (!value.is_string()) fields.fail(key, value, "strings");
    values.push_back(value.get<std::string>());
  }
  return values;
}

std::vector<int64_t> counts(const Fields& fields, const char* key) {
  std::vector<int64_t> values;
  for (const json& value : fields.array(key)) {
    if (!value.is_number_integer() || value.get<int64_t>() < 1) {
      fields.fail(key, value, "integers of 1 or more");
    }
    values.push_back(value.get<int64_t>());
  }
  return values;
}

void read_request(const Fields& request, LatencyRun* run) {
  run->started = request.text("started");
  run->build = request.text("build");
  run->seed = request.integer("seed");
  const Fields model = request.object("model");
  run->model = model.text("name");
  run->model_hash = model.text("hash");
  run->layers = model.integer("layers", 1);
  run->full_layers = model.integer("full_layers", run->layers);
  run->ops = request.text("ops");
  run->methods = texts(request, "methods");
  run->contexts = counts(request, "contexts");
  run->batches = counts(request, "batches");
  run->repeats = request.integer("repeats", 1);
  run->chunk = request.integer("chunk", 1);
  run->steps = request.integer("steps", 1);
  if (run->kind == RecordKind::kLatency) {
    run->stages = texts(request, "stages");
    run->stride = request.integer("stride", 1);
  }
  run->time_limit = optional_number(request, "time_limit");
  run->memory_limit = optional_integer(request, "memory_limit");
}

void read_provenance(const Fields& fields, LatencyRun* run) {
  for (const auto& [name, value] : fields.json().items()) {
    if (name == "command") {
      run->command = texts(fields, "command");
      continue;
    }
    run->provenance.emplace_back(
        name, value.is_string() ? value.get<std::string>()
                                : value.dump(-1, ' ', false, json::error_handler_t::replace));
  }
}

DeviceReading read_reading(const Fields& device, const char* key) {
  if (!device.has(key)) return {};
  const Fields reading = device.object(key);
  return {optional_number(reading, "sm_mhz"), optional_number(reading, "memory_mhz"),
          optional_number(reading, "power_watts"), optional_number(reading, "celsius"),
          reading.has("held_back_by") ? reading.text("held_back_by") : ""};
}

DeviceRecord read_device(const Fields& fields) {
  DeviceRecord device;
  device.name = fields.text("name");
  if (fields.has("driver")) device.driver = fields.text("driver");
  if (fields.has("sharing")) device.sharing = fields.text("sharing");
  if (fields.has("note")) device.note = fields.text("note");
  device.memory = optional_integer(fields, "memory");
  device.power_limit_watts = optional_number(fields, "power_limit_watts");
  device.before = read_reading(fields, "before");
  device.after = read_reading(fields, "after");
  return device;
}

Ceilings read_ceilings(const Fields& fields) {
  return {positive(fields, "copy_bytes_per_second"), positive(fields, "linear_flops_per_second"),
          fields.integer("copy_bytes"), counts(fields, "linear_shape")};
}

CellVerdict read_cell(const Fields& fields) {
  CellVerdict cell;
  cell.method = fields.text("method");
  cell.stage = fields.text("stage");
  cell.status = fields.text("status");
  const std::array kStatuses = {"closed", "incomplete", "too large", "skipped", "failed"};
  if (std::find(kStatuses.begin(), kStatuses.end(), cell.status) == kStatuses.end()) {
    fields.fail("status", json(cell.status), "closed, incomplete, too large, skipped or failed");
  }
  cell.context = fields.integer("context", 1);
  cell.batch = fields.integer("batch", 1);
  cell.repeats = fields.integer("repeats");
  cell.closure = optional_number(fields, "closure");
  return cell;
}

// Work of a long pass goes beyond what a double counts exactly.
int64_t work(const Fields& fields, const char* key) {
  const double value = fields.number(key);
  if (value < 0 || value > 9e18) fields.fail(key, json(value), "a number of 0 or more");
  return static_cast<int64_t>(value);
}

std::vector<PhaseTime> read_phases(const Fields& fields) {
  std::vector<PhaseTime> phases;
  for (const auto& [name, value] : fields.json().items()) {
    if (std::find(kPhaseNames.begin(), kPhaseNames.end(), name) == kPhaseNames.end()) {
      const std::vector<std::string> names(kPhaseNames.begin(), kPhaseNames.end());
      fields.fail(name, value, "a phase: one of " + join(names));
    }
    const Fields phase = fields.object(name.c_str());
    PhaseTime time{name,
                   phase.number("seconds"),
                   phase.integer("intervals"),
                   phase.integer("launches"),
                   work(phase, "bytes"),
                   work(phase, "flops")};
    if (time.seconds < 0) phase.fail("seconds", json(time.seconds), "0 or more");
    phases.push_back(std::move(time));
  }
  return phases;
}

void read_measurement(const Fields& fields, LatencyRow* row) {
  row->seconds = positive(fields, "seconds");
  row->traced_seconds = optional_number(fields, "traced_seconds");
  row->without_bank_seconds = optional_number(fields, "without_bank_seconds");
  if (fields.has("phases")) row->phases = read_phases(fields.object("phases"));
  if (fields.has("interval_seconds")) {
    row->interval_seconds = fields.number("interval_seconds");
  }
  row->overlap_seconds = optional_number(fields, "overlap_seconds");
  if (fields.has("steps")) row->steps = fields.integer("steps", 1);
  if (fields.has("evicted_tokens")) row->evicted_tokens = fields.number("evicted_tokens");
  const Fields bytes = fields.object("cache_bytes");
  row->cache_bytes = {bytes.integer("keys"), bytes.integer("values"), bytes.integer("scales"),
                      bytes.integer("metadata"), bytes.integer("total")};
  row->provisioned_tokens = fields.integer("provisioned_tokens");
  row->memory_used = optional_integer(fields, "memory_used");
  row->sm_mhz = optional_number(fields, "sm_mhz");
  row->power_watts = optional_number(fields, "power_watts");
  row->held_back = optional_number(fields, "held_back");
  if (fields.has("held_back_by")) row->held_back_by = fields.text("held_back_by");
  if (row->stage != "capacity") return;
  row->bound_batch = fields.integer("bound_batch");
  for (size_t i = 0; i < fields.array("attempts").size(); ++i) {
    const Fields attempt = fields.element("attempts", i);
    row->attempts.push_back({attempt.integer("batch", 1), attempt.boolean("fits")});
  }
}

LatencyRow read_row(const Fields& fields, RecordKind kind) {
  LatencyRow row;
  row.key = fields.text("key");
  row.method = fields.text("method");
  row.stage = fields.text("stage");
  const bool stage_fits = kind == RecordKind::kCapacity
                              ? row.stage == "capacity"
                              : row.stage == "prefill" || row.stage == "decode";
  if (!stage_fits) {
    fields.fail("stage", json(row.stage),
                kind == RecordKind::kCapacity ? "capacity" : "prefill or decode");
  }
  row.context = fields.integer("context", 1);
  row.batch = fields.integer("batch", kind == RecordKind::kCapacity ? 0 : 1);
  row.repeat = fields.integer("repeat");
  if (fields.has("error")) {
    row.error = fields.text("error");
    if (row.error.empty()) row.error = "(no message)";
  } else if (fields.has("needed_bytes")) {
    row.needed = fields.integer("needed_bytes");
    row.available = fields.integer("available_bytes");
  } else if (fields.has("predicted_seconds")) {
    row.predicted = fields.number("predicted_seconds");
  } else {
    read_measurement(fields, &row);
  }
  return row;
}

void read_rows(const std::filesystem::path& path, LatencyRun* run) {
  LineReader reader(path);
  std::unordered_set<std::string> keys;
  std::string line;
  while (reader.next(&line)) {
    if (reader.unfinished()) {
      run->notes.push_back(
          "the last line of items.jsonl is cut off (a killed run) and was "
          "ignored");
      break;
    }
    const std::string where = reader.where();
    const json parsed = json::parse(line, nullptr, false);
    if (parsed.is_discarded()) throw Error(where, "", printable(line, 60), "a JSON object");
    LatencyRow row = read_row(Fields(parsed, where), run->kind);
    if (std::find(run->methods.begin(), run->methods.end(), row.method) == run->methods.end()) {
      throw Error(where, "method", printable(row.method, 60), "a method of the request");
    }
    if (keys.insert(row.key).second) {
      run->rows.push_back(std::move(row));
    } else {
      run->notes.push_back(fmt::format("line {} repeats the key {} and was left out",
                                       reader.number(), printable(row.key, 120)));
    }
  }
}

}  // namespace

RecordKind record_kind(const std::filesystem::path& directory) {
  const json parsed = parse_run(directory);
  return kind_of(Fields(parsed, (directory / "run.json").string()));
}

std::string LatencyRun::provenance_value(std::string_view name) const {
  for (const auto& [key, value] : provenance) {
    if (key == name) return value;
  }
  return "unknown";
}

bool LatencyRun::times(size_t method, std::string_view stage) const {
  return stage == "prefill" || !is_contender(methods[method]);
}

LatencyRun read_latency_run(const std::filesystem::path& directory) {
  const json parsed = parse_run(directory);
  const Fields fields(parsed, (directory / "run.json").string());
  LatencyRun run;
  run.directory = directory;
  if (fields.integer("schema_version") != kSchemaVersion) {
    fields.fail("schema_version", parsed["schema_version"], std::to_string(kSchemaVersion));
  }
  run.kind = kind_of(fields);
  if (run.kind == RecordKind::kEvaluation) {
    fields.fail("kind", json(), "latency or capacity");
  }
  run.run_id = fields.text("run_id");
  run.status = fields.text("status");
  if (fields.has("error")) run.error = fields.text("error");
  const Fields request = fields.object("request");
  read_request(request, &run);
  if (sha256(request.json().dump(-1, ' ', false, json::error_handler_t::replace)) != run.run_id) {
    run.notes.push_back("the run_id is not the hash of the request: run.json was edited");
  }
  read_provenance(fields.object("provenance"), &run);
  run.device = read_device(fields.object("device"));
  run.ceilings = read_ceilings(fields.object("ceilings"));
  if (fields.has("calibration")) run.calibration = fields.text("calibration");
  const Fields weights = fields.object("weights");
  run.weight_bytes = weights.integer("bytes");
  run.step_weight_bytes = weights.integer("step_bytes");
  if (run.kind == RecordKind::kLatency) {
    for (size_t i = 0; i < fields.array("cells").size(); ++i) {
      run.cells.push_back(read_cell(fields.element("cells", i)));
    }
  }
  run.planned_items = fields.integer("planned_items");
  run.seconds = fields.number("seconds");
  read_rows(items_path(directory), &run);
  return run;
}

}  // namespace kvg::reports
