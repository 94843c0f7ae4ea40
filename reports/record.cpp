#include "reports/record.h"

#include "base/error.h"
#include "base/names.h"
#include "base/sha256.h"
#include "reports/json_fields.h"
#include "reports/line_reader.h"
#include "reports/record_items.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <limits>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

using nlohmann::json;

constexpr int64_t kSchemaVersion = 1;

Role read_role(const Fields& fields) {
  const std::string role = fields.text("role");
  if (role == "reference") return Role::kReference;
  if (role == "method") return Role::kMethod;
  if (role == "control") return Role::kControl;
  fields.fail("role", json(role), "reference, method or control");
}

TaskRecord read_task(const Fields& fields) {
  TaskRecord task;
  task.task = fields.text("task");
  task.version = fields.integer("version");
  task.settings = fields.object("settings").json().dump();
  for (size_t i = 0; i < fields.array("data").size(); ++i) {
    const Fields data = fields.element("data", i);
    task.data.push_back({data.text("name"), data.text("sha256"), data.integer("bytes")});
  }
  return task;
}

void read_request(const Fields& request, Run* run) {
  run->suite = request.text("suite");
  run->seed = request.integer("seed");
  run->build = request.text("build");
  const Fields model = request.object("model");
  run->model = model.text("name");
  run->model_hash = model.text("hash");
  run->tokenizer_hash = model.text("tokenizer_hash");
  size_t references = 0;
  for (size_t i = 0; i < request.array("methods").size(); ++i) {
    const Fields fields = request.element("methods", i);
    MethodRecord method;
    method.method = fields.text("method");
    method.role = read_role(fields);
    references += method.role == Role::kReference ? 1 : 0;
    run->methods.push_back(std::move(method));
  }
  if (references != 1) {
    request.fail("methods", json(references), "exactly one method of the role reference");
  }
  for (size_t i = 0; i < request.array("tasks").size(); ++i) {
    run->tasks.push_back(read_task(request.element("tasks", i)));
  }
}

void read_method_state(const Fields& fields, MethodRecord* method) {
  method->status = fields.text("status");
  if (fields.has("items")) method->items = fields.integer("items");
  if (fields.has("failed_items")) method->failed_items = fields.integer("failed_items");
  if (fields.has("error")) method->error = fields.text("error");
  if (fields.has("prefill_tokens")) method->prefill_tokens = fields.integer("prefill_tokens");
  if (fields.has("prefill_seconds")) method->prefill_seconds = fields.number("prefill_seconds");
  for (size_t i = 0; i < fields.array("bytes").size(); ++i) {
    const Fields entry = fields.element("bytes", i);
    method->provisioned.push_back(
        {entry.integer("tokens"),
         {entry.integer("keys"), entry.integer("values"), entry.integer("scales"),
          entry.integer("metadata"), entry.integer("total")}});
  }
  std::sort(method->provisioned.begin(), method->provisioned.end(),
            [](const auto& a, const auto& b) { return a.tokens < b.tokens; });
}

void read_provenance(const Fields& fields, Run* run) {
  for (const auto& [name, value] : fields.json().items()) {
    if (name == "command" && value.is_array()) {
      for (const json& word : value) {
        if (!word.is_string()) fields.fail("command", word, "strings");
        run->command.push_back(word.get<std::string>());
      }
      continue;
    }
    run->provenance.emplace_back(
        name, value.is_string() ? value.get<std::string>()
                                : value.dump(-1, ' ', false, json::error_handler_t::replace));
  }
}

Run read_run_json(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path.string(), "", "nothing", "a run record (a folder with run.json)");
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const json parsed = json::parse(bytes, nullptr, false);
  if (parsed.is_discarded()) throw Error(path.string(), "", printable(bytes, 60), "valid JSON");
  const Fields fields(parsed, path.string());
  if (fields.integer("schema_version") != kSchemaVersion) {
    fields.fail("schema_version", parsed["schema_version"], std::to_string(kSchemaVersion));
  }
  if (fields.has("kind")) fields.fail("kind", parsed["kind"], "no kind: an evaluation");
  Run run;
  run.run_id = fields.text("run_id");
  run.status = fields.text("status");
  if (fields.has("error")) run.error = fields.text("error");
  const Fields request = fields.object("request");
  read_request(request, &run);
  if (sha256(request.json().dump(-1, ' ', false, json::error_handler_t::replace)) != run.run_id) {
    run.notes.push_back("the run_id is not the hash of the request: run.json was edited");
  }
  if (fields.has("limit")) run.limit = fields.integer("limit");
  if (fields.has("samples")) run.samples = fields.array("samples").dump();
  read_provenance(fields.object("provenance"), &run);
  const Fields states = fields.object("methods");
  for (MethodRecord& method : run.methods) {
    read_method_state(states.object(method.method.c_str()), &method);
  }
  run.planned_items = fields.integer("planned_items");
  run.seconds = fields.has("seconds") ? fields.number("seconds") : 0;
  return run;
}

// Rows that the request did not ask for would silently enter a pool; they are left out and named.
void drop_unexpected(std::vector<Item>* items, Run* run) {
  const auto unexpected = [run](const Item& item) {
    return run->find_method(item.method) == nullptr || run->find_task(item.task) == nullptr;
  };
  const auto end = std::stable_partition(items->begin(), items->end(),
                                         [&](const Item& item) { return !unexpected(item); });
  if (end == items->end()) return;
  run->notes.push_back(
      fmt::format("{} rows belong to methods or tasks that the request does not name and were left "
                  "out (first: {})",
                  std::distance(end, items->end()), printable(end->key, 120)));
  items->erase(end, items->end());
}

// The counts of run.json are never used, but when they differ from the rows one of the two is
// damaged.
void check_counts(Run* run) {
  for (const MethodRecord& method : run->methods) {
    if (method.status != "complete") continue;
    int64_t items = 0, failed = 0;
    for (const Item& item : run->items) {
      if (item.method != method.method) continue;
      ++items;
      failed += item.failed() ? 1 : 0;
    }
    if (method.items.value_or(items) == items && method.failed_items.value_or(failed) == failed) {
      continue;
    }
    run->notes.push_back(
        fmt::format("{}: run.json counts {} items with {} failures, items.jsonl holds {} with {}",
                    method.method, method.items.value_or(items),
                    method.failed_items.value_or(failed), items, failed));
  }
}

}  // namespace

int64_t Retention::stored_layers() const {
  return std::count(stored_share.begin(), stored_share.end(), 1.0);
}

std::string Item::cell_text() const {
  std::string text;
  for (const auto& [name, value] : cell) {
    text += (text.empty() ? "" : ",") + name + "=" + value;
  }
  return text;
}

double Item::axis(const std::string& name) const {
  const auto it = cell.find(name);
  double value = std::numeric_limits<double>::quiet_NaN();
  if (it != cell.end()) {
    const std::string& text = it->second;
    double parsed = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), parsed);
    if (result.ec == std::errc() && result.ptr == text.data() + text.size()) value = parsed;
  }
  return value;
}

std::string Item::pairing_key() const {
  return condition + "|" + task + "|" + cell_text() + "|" + std::to_string(index);
}

const MethodRecord& Run::reference() const {
  return *std::find_if(methods.begin(), methods.end(),
                       [](const MethodRecord& m) { return m.role == Role::kReference; });
}

const MethodRecord* Run::find_method(std::string_view method) const {
  for (const MethodRecord& candidate : methods) {
    if (candidate.method == method) return &candidate;
  }
  return nullptr;
}

const TaskRecord* Run::find_task(std::string_view task) const {
  for (const TaskRecord& candidate : tasks) {
    if (candidate.task == task) return &candidate;
  }
  return nullptr;
}

std::string Run::provenance_value(std::string_view name) const {
  for (const auto& [key, value] : provenance) {
    if (key == name) return value;
  }
  return "unknown";
}

bool Run::complete() const {
  return status == "complete" && static_cast<int64_t>(items.size()) == planned_items;
}

std::string TaskRecord::data_hashes() const {
  std::string hashes;
  for (const DataRecord& entry : data) hashes += entry.sha256 + " ";
  return hashes;
}

const MethodRecord& resolve_method(const Run& run, const std::string& name) {
  if (const MethodRecord* exact = run.find_method(name)) return *exact;
  std::vector<std::string> names;
  const MethodRecord* found = nullptr;
  size_t hits = 0;
  for (const MethodRecord& method : run.methods) {
    names.push_back(method.method);
    if (method.method.substr(0, method.method.find_first_of("(+")) == name) {
      found = &method;
      ++hits;
    }
  }
  if (hits == 1) return *found;
  throw Error(run.directory.string(), "method", hits > 1 ? name + " (more than one)" : name,
              "one of " + join(names) + did_you_mean(name, names));
}

Run read_run(const std::filesystem::path& directory) {
  if (!std::filesystem::is_directory(directory)) {
    throw Error(directory.string(), "", std::filesystem::exists(directory) ? "a file" : "nothing",
                "a run folder (with run.json and items.jsonl)");
  }
  Run run = read_run_json(directory / "run.json");
  run.directory = directory;
  ItemLines lines = read_items(items_path(directory));
  if (lines.truncated_tail) {
    run.notes.push_back("the last line of items.jsonl is cut off (a killed run) and was ignored");
  }
  if (lines.duplicates > 0) {
    run.notes.push_back(
        fmt::format("{} rows of items.jsonl repeat a key that had come before and were left out",
                    lines.duplicates));
  }
  drop_unexpected(&lines.items, &run);
  run.items = std::move(lines.items);
  check_counts(&run);
  return run;
}

}  // namespace kvg::reports
