#include "reports/study/training_log.h"

#include "reports/json_fields.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace kvg::reports {

namespace {

using nlohmann::json;

// null is how the trainer writes what it does not know.
bool present(const Fields& fields, const char* key) {
  return fields.has(key) && !fields.json()[key].is_null();
}

void take(const Fields& fields, const char* key, std::string* text) {
  if (present(fields, key)) *text = fields.text(key);
}

void take(const Fields& fields, const char* key, std::optional<int64_t>* count) {
  if (present(fields, key)) *count = fields.integer(key);
}

void take(const Fields& fields, const char* key, std::optional<double>* number) {
  if (present(fields, key)) *number = fields.number(key);
}

// The numbers of a point, whatever they are called; the trainer may log more than is known here.
TrainingPoint read_point(const Fields& fields) {
  TrainingPoint point;
  point.step = fields.integer("step");
  for (const auto& [name, value] : fields.json().items()) {
    if (value.is_number() && name != "step") point.values[name] = fields.number(name.c_str());
  }
  return point;
}

void read_words(const Fields& fields, TrainingLog* log) {
  for (const json& word : fields.array("command")) {
    if (!word.is_string()) fields.fail("command", word, "strings");
    log->command.push_back(word.get<std::string>());
  }
}

}  // namespace

std::optional<std::pair<double, double>> TrainingLog::ends(const std::string& series) const {
  std::optional<std::pair<double, double>> found;
  for (const TrainingPoint& point : curve) {
    const auto it = point.values.find(series);
    if (it == point.values.end()) continue;
    if (!found) found.emplace(it->second, it->second);
    found->second = it->second;
  }
  return found;
}

TrainingLog read_training_log(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path.string(), "", "nothing", "a training record");
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const json parsed = json::parse(bytes, nullptr, false);
  if (parsed.is_discarded()) throw Error(path.string(), "", printable(bytes, 60), "valid JSON");
  const Fields fields(parsed, path.string());
  if (fields.integer("schema_version") != 1) {
    fields.fail("schema_version", parsed["schema_version"], "1");
  }
  TrainingLog log;
  take(fields, "arm", &log.arm);
  take(fields, "model", &log.model);
  take(fields, "attention", &log.attention);
  take(fields, "retention", &log.retention);
  take(fields, "device", &log.device);
  take(fields, "torch", &log.torch);
  take(fields, "seed", &log.seed);
  take(fields, "steps", &log.steps);
  take(fields, "tokens", &log.tokens);
  take(fields, "peak_bytes", &log.peak_bytes);
  take(fields, "parameters_trained", &log.parameters_trained);
  take(fields, "seconds", &log.seconds);
  take(fields, "tokens_per_second", &log.tokens_per_second);
  if (present(fields, "base")) {
    take(fields.object("base"), "name", &log.base);
    take(fields.object("base"), "sha256", &log.base_sha256);
  }
  if (present(fields, "data")) take(fields.object("data"), "sha256", &log.data_sha256);
  if (present(fields, "learning_rates")) {
    const Fields rates = fields.object("learning_rates");
    for (const auto& [name, value] : rates.json().items()) {
      log.learning_rates.emplace_back(name, rates.number(name.c_str()));
    }
  }
  if (present(fields, "command")) read_words(fields, &log);
  if (present(fields, "curve")) {
    for (size_t i = 0; i < fields.array("curve").size(); ++i) {
      log.curve.push_back(read_point(fields.element("curve", i)));
    }
  }
  std::stable_sort(log.curve.begin(), log.curve.end(),
                   [](const auto& a, const auto& b) { return a.step < b.step; });
  return log;
}

}  // namespace kvg::reports
