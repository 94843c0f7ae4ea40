#pragma once

#include "base/error.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace kvg::reports {

// Strict access to the fields of a JSON object that came from a file: every miss is an Error that
// names the place (file or file:line), the field, what was found and what was expected.
class Fields {
 public:
  Fields(const nlohmann::json& object, std::string where, std::string prefix = {})
      : object_(object), where_(std::move(where)), prefix_(std::move(prefix)) {
    if (!object.is_object()) fail("", object, "an object");
  }

  bool has(const char* key) const { return object_.contains(key); }

  std::string text(const char* key) const {
    const nlohmann::json& value = at(key, "a string");
    if (!value.is_string()) fail(key, value, "a string");
    return value.get<std::string>();
  }
  // A whole number in [minimum, 2^53].
  int64_t integer(const char* key, int64_t minimum = 0) const {
    const nlohmann::json& value = at(key, "an integer");
    constexpr int64_t kExact = int64_t{1} << 53;
    const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{kExact};
    if (!value.is_number_integer() || huge || value.get<int64_t>() < minimum) {
      fail(key, value, "an integer of " + std::to_string(minimum) + " or more");
    }
    return value.get<int64_t>();
  }
  // A finite number.
  double number(const char* key) const {
    const nlohmann::json& value = at(key, "a number");
    if (!value.is_number() || !std::isfinite(value.get<double>())) fail(key, value, "a number");
    return value.get<double>();
  }
  bool boolean(const char* key) const {
    const nlohmann::json& value = at(key, "true or false");
    if (!value.is_boolean()) fail(key, value, "true or false");
    return value.get<bool>();
  }
  const nlohmann::json& array(const char* key) const {
    const nlohmann::json& value = at(key, "an array");
    if (!value.is_array()) fail(key, value, "an array");
    return value;
  }
  Fields object(const char* key) const {
    const nlohmann::json& value = at(key, "an object");
    if (!value.is_object()) fail(key, value, "an object");
    return {value, where_, prefix_ + key + "."};
  }
  // An element of an array of objects, named "key[i]" in errors.
  Fields element(const char* key, size_t index) const {
    return {array(key)[index], where_, prefix_ + key + "[" + std::to_string(index) + "]."};
  }

  const nlohmann::json& json() const { return object_; }

  [[noreturn]] void fail(std::string_view key, const nlohmann::json& found,
                         std::string_view expected) const {
    std::string name = prefix_ + std::string(key);
    if (!name.empty() && name.back() == '.') name.pop_back();
    throw Error(where_, name, describe(found), expected);
  }

 private:
  const nlohmann::json& at(const char* key, std::string_view expected) const {
    const auto it = object_.find(key);
    if (it == object_.end()) throw Error(where_, prefix_ + key, "nothing", expected);
    return *it;
  }
  static std::string describe(const nlohmann::json& value) {
    const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return std::string(value.type_name()) + " " + printable(text, 60);
  }

  const nlohmann::json& object_;
  std::string where_, prefix_;
};

}  // namespace kvg::reports
