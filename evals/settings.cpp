#include "evals/settings.h"

#include "base/error.h"
#include "base/names.h"
#include "evals/ranges.h"

#include <algorithm>

#include <fmt/format.h>

namespace kvg {
namespace {

void check_range(const SettingSpec& spec, double value, const WrittenSetting& written) {
  if (value >= spec.minimum && value <= spec.maximum) return;
  throw Error(written.where, spec.name, written.text,
              fmt::format("a value from {} to {}", spec.minimum, spec.maximum));
}

void check_choice(const SettingSpec& spec, const std::string& value,
                  const WrittenSetting& written) {
  if (spec.choices.empty() || std::ranges::find(spec.choices, value) != spec.choices.end()) return;
  throw Error(written.where, spec.name, "'" + value + "'" + did_you_mean(value, spec.choices),
              "one of " + join(spec.choices));
}

SettingValue parse(const SettingSpec& spec, const WrittenSetting& written) {
  if (std::holds_alternative<int64_t>(spec.fallback)) {
    const int64_t value = parse_count(written.text, written.where, spec.name);
    check_range(spec, static_cast<double>(value), written);
    return value;
  }
  if (std::holds_alternative<double>(spec.fallback)) {
    const double value = parse_number(written.text, written.where, spec.name);
    check_range(spec, value, written);
    return value;
  }
  if (std::holds_alternative<std::string>(spec.fallback)) {
    check_choice(spec, written.text, written);
    return written.text;
  }
  if (std::holds_alternative<std::vector<int64_t>>(spec.fallback)) {
    const std::vector<int64_t> values = parse_counts(written.text, written.where, spec.name);
    for (const int64_t value : values) check_range(spec, static_cast<double>(value), written);
    return values;
  }
  const std::vector<std::string> values = split_list(written.text);
  if (values.empty()) throw Error(written.where, spec.name, "an empty list", "at least one value");
  for (const std::string& value : values) check_choice(spec, value, written);
  return values;
}

}  // namespace

Settings::Settings(std::string_view task, std::span<const SettingSpec> specs,
                   const std::map<std::string, WrittenSetting>& written) {
  std::vector<std::string> names;
  for (const SettingSpec& spec : specs) {
    names.push_back(spec.name);
    const auto found = written.find(spec.name);
    values_[spec.name] = found == written.end() ? spec.fallback : parse(spec, found->second);
    where_[spec.name] = found == written.end() ? "task " + std::string(task) : found->second.where;
  }
  for (const auto& [name, value] : written) {
    if (values_.contains(name)) continue;
    throw Error(value.where, "task " + std::string(task),
                "setting '" + name + "'" + did_you_mean(name, names), "one of " + join(names));
  }
}

}  // namespace kvg
