#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace kvg {

using SettingValue =
    std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<std::string>>;

// One setting of a task: a row of the task's table. The alternative of `fallback` decides the type:
// a count, a number, a word, a list of counts, a list of words.
struct SettingSpec {
  std::string name;
  SettingValue fallback;
  std::string help;
  double minimum = 0;                // of counts and numbers
  double maximum = 1e15;             // of counts and numbers
  std::vector<std::string> choices;  // of words; empty: any
};

// A value as written in a suite or on the command line, and where: "quick.yaml:12".
struct WrittenSetting {
  std::string text;
  std::string where;
};

// The settings of a task, complete: what was written, defaults elsewhere.
class Settings {
 public:
  // Throws Error for an unknown name (with the nearest known one) and for a value of the wrong type
  // or out of range.
  Settings(std::string_view task, std::span<const SettingSpec> specs,
           const std::map<std::string, WrittenSetting>& written);

  int64_t count(const std::string& name) const { return get<int64_t>(name); }
  double number(const std::string& name) const { return get<double>(name); }
  const std::string& word(const std::string& name) const { return get<std::string>(name); }
  const std::vector<int64_t>& counts(const std::string& name) const {
    return get<std::vector<int64_t>>(name);
  }
  const std::vector<std::string>& words(const std::string& name) const {
    return get<std::vector<std::string>>(name);
  }
  const std::map<std::string, SettingValue>& all() const { return values_; }
  // Where a setting was written, for errors found later: "quick.yaml:12" or "task NAME".
  const std::string& where(const std::string& name) const { return where_.at(name); }

 private:
  template <typename T>
  const T& get(const std::string& name) const {
    return std::get<T>(values_.at(name));
  }

  std::map<std::string, SettingValue> values_;
  std::map<std::string, std::string> where_;
};

}  // namespace kvg
