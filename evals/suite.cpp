#include "evals/suite.h"

#include "base/error.h"
#include "base/names.h"
#include "evals/built_in_suites.h"
#include "evals/ranges.h"
#include "evals/task.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <yaml-cpp/yaml.h>

namespace kvg {
namespace {

const std::vector<std::string> kKeys = {"name",    "model",    "seed", "limit",
                                        "methods", "controls", "tasks"};

std::string line_of(const std::string& where, const YAML::Node& node) {
  return where + ":" + std::to_string(node.Mark().line + 1);
}

std::string kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  return node.IsScalar() ? "'" + node.Scalar() + "'" : "nothing";
}

// The pairs of a mapping, each key once.
std::vector<std::pair<std::string, YAML::Node>> pairs_of(const YAML::Node& node,
                                                         const std::string& where,
                                                         const std::string& key) {
  if (!node.IsMap()) throw Error(line_of(where, node), key, kind_of(node), "a mapping");
  std::set<std::string> seen;
  std::vector<std::pair<std::string, YAML::Node>> pairs;
  for (const auto& pair : node) {
    if (!pair.first.IsScalar()) {
      throw Error(line_of(where, pair.first), key, kind_of(pair.first), "a name as key");
    }
    if (!seen.insert(pair.first.Scalar()).second) {
      throw Error(line_of(where, pair.first), pair.first.Scalar(), "the key twice", "once");
    }
    pairs.emplace_back(pair.first.Scalar(), pair.second);
  }
  return pairs;
}

std::string scalar(const YAML::Node& node, const std::string& where, const std::string& key) {
  if (!node.IsScalar()) throw Error(line_of(where, node), key, kind_of(node), "a single value");
  return node.Scalar();
}

std::vector<std::string> list(const YAML::Node& node, const std::string& where,
                              const std::string& key) {
  if (node.IsScalar()) return split_list(node.Scalar());
  if (!node.IsSequence()) throw Error(line_of(where, node), key, kind_of(node), "a list");
  std::vector<std::string> values;
  for (const YAML::Node& entry : node) values.push_back(scalar(entry, where, key));
  return values;
}

SuiteTask task_of(const std::string& name, const YAML::Node& node, const std::string& where) {
  SuiteTask task{name, line_of(where, node), {}};
  const TaskEntry& entry = find_task(name, task.where);
  if (node.IsNull()) return task;
  for (const auto& [key, value] : pairs_of(node, where, name)) {
    const std::string text = value.IsSequence() ? join(list(value, where, key), ",")
                                                : scalar(value, where, name + "." + key);
    task.settings[key] = {text, line_of(where, value)};
  }
  const Settings checked(name, entry.settings(), task.settings);
  return task;
}

void set_key(Suite* suite, const std::string& key, const std::string& value,
             const std::string& where) {
  if (key == "model") suite->model = value;
  if (key == "name") suite->name = value;
  if (key == "seed") suite->seed = static_cast<uint64_t>(parse_count(value, where, key));
  if (key == "limit") suite->limit = parse_count(value, where, key);
}

void set_list(Suite* suite, const std::string& key, std::vector<std::string> values,
              const std::string& where) {
  if (key == "methods" && values.empty()) throw Error(where, key, "an empty list", "a method");
  (key == "methods" ? suite->methods : suite->controls) = std::move(values);
}

void choose_tasks(Suite* suite, const SuiteOverride& change) {
  std::vector<SuiteTask> chosen;
  for (const std::string& name : split_list(change.value)) {
    find_task(name, change.where);
    const auto same = [&](const SuiteTask& task) { return task.name == name; };
    if (std::ranges::any_of(chosen, same))
      throw Error(change.where, name, "the task twice", "once");
    const auto found = std::ranges::find_if(suite->tasks, same);
    chosen.push_back(found != suite->tasks.end() ? *found : SuiteTask{name, change.where, {}});
  }
  if (chosen.empty()) throw Error(change.where, "tasks", "an empty list", "at least one task");
  suite->tasks = std::move(chosen);
}

std::vector<std::string> setting_names(const std::string& task) {
  std::vector<std::string> names;
  for (const SettingSpec& spec : find_task(task).settings()) names.push_back(spec.name);
  return names;
}

// Puts the setting into every task of the suite that has it ("lengths"), or into one
// ("needle.lengths").
void change_setting(Suite* suite, const SuiteOverride& change) {
  const size_t dot = change.key.find('.');
  const std::string wanted = dot == std::string::npos ? "" : change.key.substr(0, dot);
  const std::string setting = dot == std::string::npos ? change.key : change.key.substr(dot + 1);
  if (!wanted.empty()) find_task(wanted, change.where);
  std::vector<std::string> known = kKeys;
  bool used = false;
  for (SuiteTask& task : suite->tasks) {
    const std::vector<std::string> names = setting_names(task.name);
    known.insert(known.end(), names.begin(), names.end());
    if (!wanted.empty() && task.name != wanted) continue;
    if (std::ranges::find(names, setting) == names.end()) continue;
    task.settings[setting] = {change.value, change.where};
    const Settings checked(task.name, find_task(task.name).settings(), task.settings);
    used = true;
  }
  if (used) return;
  throw Error(change.where, "key", "'" + change.key + "'" + did_you_mean(setting, known),
              "a key of a suite or a setting of a chosen task");
}

}  // namespace

Suite parse_suite(std::string_view yaml, const std::string& where) {
  Suite suite;
  suite.where = where;
  suite.name = std::filesystem::path(where).stem().string();
  try {
    const YAML::Node root = YAML::Load(std::string(yaml));
    for (const auto& [key, value] : pairs_of(root, where, "suite")) {
      const std::string line = line_of(where, value);
      if (std::ranges::find(kKeys, key) == kKeys.end()) {
        throw Error(line, "key", "'" + key + "'" + did_you_mean(key, kKeys),
                    "one of " + join(kKeys));
      }
      if (key == "methods" || key == "controls") {
        set_list(&suite, key, list(value, where, key), line);
      } else if (key == "tasks") {
        for (const auto& [name, settings] : pairs_of(value, where, key)) {
          suite.tasks.push_back(task_of(name, settings, where));
        }
      } else {
        set_key(&suite, key, scalar(value, where, key), line);
      }
    }
  } catch (const YAML::Exception& problem) {
    throw Error(where + ":" + std::to_string(problem.mark.line + 1), "", problem.msg, "valid YAML");
  }
  if (suite.methods.empty()) throw Error(where, "methods", "none", "at least one method");
  if (suite.tasks.empty()) throw Error(where, "tasks", "none", "at least one task");
  return suite;
}

std::vector<std::string> built_in_suites() {
  std::vector<std::string> names;
  for (const auto& [name, yaml] : kBuiltInSuites) names.emplace_back(name);
  return names;
}

Suite load_suite(const std::string& name_or_path) {
  for (const auto& [name, yaml] : kBuiltInSuites) {
    if (name == name_or_path) return parse_suite(yaml, std::string(name) + ".yaml");
  }
  if (!std::filesystem::is_regular_file(name_or_path)) {
    const std::vector<std::string> names = built_in_suites();
    throw Error("suite", "", "'" + name_or_path + "'" + did_you_mean(name_or_path, names),
                "a YAML file or one of " + join(names));
  }
  std::ifstream file(name_or_path, std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  if (!file) throw Error(name_or_path, "", "a read error", "a readable suite");
  return parse_suite(std::move(content).str(), name_or_path);
}

void apply_overrides(Suite* suite, std::span<const SuiteOverride> overrides) {
  for (const SuiteOverride& change : overrides) {
    if (change.key == "tasks") choose_tasks(suite, change);
  }
  for (const SuiteOverride& change : overrides) {
    if (change.key == "tasks") continue;
    if (change.key == "methods" || change.key == "controls") {
      set_list(suite, change.key, split_list(change.value), change.where);
    } else if (std::ranges::find(kKeys, change.key) != kKeys.end()) {
      set_key(suite, change.key, change.value, change.where);
    } else {
      change_setting(suite, change);
    }
  }
}

}  // namespace kvg
