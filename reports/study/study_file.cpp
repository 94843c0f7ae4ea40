#include "reports/study/study_file.h"

#include "base/error.h"
#include "base/names.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

namespace kvg::reports {

namespace {

std::string kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  return node.IsScalar() ? "'" + node.Scalar() + "'" : "nothing";
}

// One value of the file with its place.
struct Value {
  YAML::Node node;
  std::string file, key;

  std::string where() const { return fmt::format("{}:{}", file, node.Mark().line + 1); }
  [[noreturn]] void fail(const std::string& expected) const {
    throw Error(where(), key, kind_of(node), expected);
  }
  std::string text() const {
    if (!node.IsScalar() || trim(node.Scalar()).empty()) fail("a text");
    return node.Scalar();
  }
  int64_t count() const {
    const std::string text = node.IsScalar() ? node.Scalar() : "";
    int64_t value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size() ||
        value < 0) {
      fail("a whole number of 0 or more");
    }
    return value;
  }
  double positive() const {
    const std::string text = node.IsScalar() ? node.Scalar() : "";
    double value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size() ||
        !std::isfinite(value) || value <= 0) {
      fail("a number above 0");
    }
    return value;
  }
  bool on_or_off() const {
    const std::string text = node.IsScalar() ? node.Scalar() : "";
    if (text == "on" || text == "true") return true;
    if (text == "off" || text == "false") return false;
    fail("on or off");
  }
};

using Setters = std::map<std::string, std::function<void(const Value&)>>;

// Calls the setter of every key of a mapping; returns the keys that were there.
std::set<std::string> apply(const Value& mapping, const Setters& setters) {
  if (!mapping.node.IsMap()) mapping.fail("a mapping");
  std::vector<std::string> names;
  for (const auto& [name, setter] : setters) names.push_back(name);
  std::set<std::string> seen;
  for (const auto& pair : mapping.node) {
    const Value key{pair.first, mapping.file, "key"};
    if (!pair.first.IsScalar()) key.fail("a name");
    const std::string& name = pair.first.Scalar();
    const auto setter = setters.find(name);
    if (setter == setters.end()) key.fail("one of " + join(names) + did_you_mean(name, names));
    if (!seen.insert(name).second) throw Error(key.where(), name, "the key twice", "once");
    setter->second({pair.second, mapping.file, name});
  }
  return seen;
}

void require(const Value& mapping, const std::set<std::string>& seen,
             std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (!seen.contains(name)) throw Error(mapping.where(), name, "nothing", "a value");
  }
}

ArmRole role_of(const Value& value) {
  const std::string text = value.text();
  if (text == "factorial") return ArmRole::kFactorial;
  if (text == "control") return ArmRole::kControl;
  if (text == "reference") return ArmRole::kReference;
  value.fail("factorial, control or reference");
}

std::vector<std::pair<std::string, bool>> factors_of(const Value& value) {
  if (!value.node.IsMap()) value.fail("a mapping from factors to on or off");
  std::vector<std::pair<std::string, bool>> factors;
  for (const auto& pair : value.node) {
    const Value key{pair.first, value.file, "factors"};
    factors.emplace_back(key.text(), Value{pair.second, value.file, key.text()}.on_or_off());
  }
  return factors;
}

ArmEntry arm_of(const Value& value) {
  ArmEntry arm;
  arm.where = value.where();
  const std::set<std::string> seen =
      apply(value, {{"name", [&](const Value& v) { arm.name = v.text(); }},
                    {"seed", [&](const Value& v) { arm.seed = v.count(); }},
                    {"run", [&](const Value& v) { arm.run = v.text(); }},
                    {"method", [&](const Value& v) { arm.method = v.text(); }},
                    {"factors", [&](const Value& v) { arm.factors = factors_of(v); }},
                    {"training", [&](const Value& v) { arm.training = v.text(); }},
                    {"role", [&](const Value& v) { arm.role = role_of(v); }},
                    {"compare", [&](const Value& v) { arm.compare = v.text(); }}});
  require(value, seen, {"name", "run", "method", "role"});
  if (arm.role == ArmRole::kFactorial && arm.factors.size() != 2) {
    throw Error(arm.where, "factors", fmt::format("{} factors", arm.factors.size()),
                "two, each on or off, of an arm of the factorial");
  }
  if ((arm.role == ArmRole::kControl) == arm.compare.empty()) {
    throw Error(arm.where, "compare", arm.compare.empty() ? "nothing" : arm.compare,
                arm.compare.empty() ? "the arm that the control is compared with"
                                    : "nothing: only controls are compared with an arm");
  }
  return arm;
}

void check_arms(const StudyFile& study, const std::string& file) {
  std::map<std::string, const ArmEntry*> first;
  std::set<std::pair<std::string, int64_t>> seen;
  std::vector<std::string> names;
  const ArmEntry* factorial = nullptr;
  for (const ArmEntry& arm : study.arms) {
    if (!seen.emplace(arm.name, arm.seed).second) {
      throw Error(arm.where, arm.name, fmt::format("seed {} twice", arm.seed), "each seed once");
    }
    const auto [it, fresh] = first.emplace(arm.name, &arm);
    if (fresh) names.push_back(arm.name);
    const ArmEntry& other = *it->second;
    if (arm.role != other.role || arm.factors != other.factors || arm.compare != other.compare) {
      throw Error(arm.where, arm.name, "another role, compare or factors than at " + other.where,
                  "the same for all seeds of an arm");
    }
    if (arm.role != ArmRole::kFactorial) continue;
    if (factorial == nullptr) factorial = &arm;
    for (size_t i = 0; i < 2; ++i) {
      if (arm.factors[i].first != factorial->factors[i].first) {
        throw Error(arm.where, "factors", arm.factors[i].first,
                    fmt::format("{}, as at {}", factorial->factors[i].first, factorial->where));
      }
    }
  }
  for (const ArmEntry& arm : study.arms) {
    if (arm.role != ArmRole::kControl) continue;
    if (!first.contains(arm.compare) || arm.compare == arm.name) {
      throw Error(arm.where, "compare", arm.compare + did_you_mean(arm.compare, names),
                  "the name of another arm");
    }
  }
  if (study.arms.empty()) throw Error(file, "arms", "an empty list", "at least one arm");
}

}  // namespace

std::filesystem::path study_file_path(const std::filesystem::path& folder) {
  return folder / "study.yaml";
}

StudyFile read_study_file(const std::filesystem::path& folder) {
  const std::filesystem::path path = study_file_path(folder);
  const std::string file = path.string();
  if (!std::filesystem::is_regular_file(path)) {
    throw Error(file, "", "nothing", "a study (a folder with study.yaml)");
  }
  StudyFile study;
  study.directory = folder;
  try {
    const Value root{YAML::LoadFile(file), file, "study"};
    const auto arms = [&](const Value& value) {
      if (!value.node.IsSequence()) value.fail("a list of arms");
      for (const YAML::Node& entry : value.node) study.arms.push_back(arm_of({entry, file, "arm"}));
    };
    const std::set<std::string> seen = apply(
        root, {{"title", [&](const Value& v) { study.title = v.text(); }},
               {"intro", [&](const Value& v) { study.intro = v.text(); }},
               {"rules", [&](const Value& v) { study.rules = v.text(); }},
               {"moved_threshold", [&](const Value& v) { study.moved_threshold = v.positive(); }},
               {"arms", arms}});
    require(root, seen, {"title", "rules", "arms"});
  } catch (const YAML::Exception& error) {
    throw Error(fmt::format("{}:{}", file, error.mark.line + 1), "", error.msg, "valid YAML");
  }
  check_arms(study, file);
  return study;
}

}  // namespace kvg::reports
