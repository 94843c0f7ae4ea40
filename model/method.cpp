#include "model/method.h"

#include "base/error.h"
#include "base/names.h"
#include "model/cache/policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace kvg {

namespace {

constexpr size_t kLongestMethod = 1000;

// name(key=value,...) with nothing resolved yet.
struct Call {
  std::string name;
  std::vector<std::pair<std::string, std::string>> arguments;
};

[[noreturn]] void fail(std::string_view text, const std::string& key, const std::string& found,
                       const std::string& expected) {
  throw Error("method '" + std::string(text) + "'", key, found, expected);
}

// Splits at `separator` outside parentheses.
std::vector<std::string> split_outside(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : text) {
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (c == separator && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

Call parse_call(std::string_view whole, std::string_view text) {
  Call call;
  text = trim(text);
  const size_t open = text.find('(');
  call.name = trim(text.substr(0, open));
  if (call.name.empty()) fail(whole, "", "'" + std::string(text) + "'", "a name");
  if (open == std::string_view::npos) {
    if (text.find(')') != std::string_view::npos)
      fail(whole, "", "')' without '('", "balanced parentheses");
    return call;
  }
  if (text.back() != ')' || text.find(')') != text.size() - 1 ||
      text.find('(', open + 1) != std::string_view::npos) {
    fail(whole, "", "'" + std::string(text) + "'", "name(key=value,...)");
  }
  const std::string_view inside = trim(text.substr(open + 1, text.size() - open - 2));
  if (inside.empty()) return call;
  for (const std::string& part : split(inside, ',')) {
    const size_t equals = part.find('=');
    const std::string key(trim(std::string_view(part).substr(0, equals)));
    if (equals == std::string::npos || key.empty()) {
      fail(whole, call.name, "'" + part + "'", "key=value");
    }
    for (const auto& [known, value] : call.arguments) {
      if (known == key) fail(whole, call.name + "." + key, "the key twice", "once");
    }
    call.arguments.emplace_back(key, trim(std::string_view(part).substr(equals + 1)));
  }
  return call;
}

std::string print_number(double value) {
  std::array<char, 32> text{};
  const auto result = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), result.ptr};
}

std::string print_value(const ArgumentValue& value) {
  if (const auto* integer = std::get_if<int64_t>(&value)) return std::to_string(*integer);
  if (const auto* number = std::get_if<double>(&value)) return print_number(*number);
  return std::get<std::string>(value);
}

// Whole numbers may be written 4k for 4096.
std::optional<int64_t> read_integer(std::string_view text) {
  int64_t scale = 1;
  if (!text.empty() && (text.back() == 'k' || text.back() == 'K')) {
    scale = 1024;
    text.remove_suffix(1);
  }
  int64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  if (std::abs(static_cast<double>(value)) > 1e15) return std::nullopt;
  return value * scale;
}

std::optional<double> read_number(std::string_view text) {
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() ||
      !std::isfinite(value)) {
    return std::nullopt;
  }
  return value;
}

std::string range_of(const ArgumentSpec& spec) {
  const bool whole = std::holds_alternative<int64_t>(spec.fallback);
  const auto print = [whole](double x) {
    return whole ? std::to_string(static_cast<int64_t>(x)) : print_number(x);
  };
  return std::string(whole ? "a whole number" : "a number") + " in " + print(spec.minimum) + ".." +
         print(spec.maximum);
}

ArgumentValue read_value(std::string_view whole, const std::string& owner, const ArgumentSpec& spec,
                         const std::string& text) {
  const std::string key = owner + "." + spec.name;
  const std::string found = "'" + text + "'";
  if (std::holds_alternative<int64_t>(spec.fallback)) {
    const auto value = read_integer(text);
    if (!value || static_cast<double>(*value) < spec.minimum ||
        static_cast<double>(*value) > spec.maximum) {
      fail(whole, key, found, range_of(spec));
    }
    return *value;
  }
  if (std::holds_alternative<double>(spec.fallback)) {
    const auto value = read_number(text);
    if (!value || *value < spec.minimum || *value > spec.maximum) {
      fail(whole, key, found, range_of(spec));
    }
    return *value;
  }
  for (const std::string& choice : spec.choices) {
    if (choice == text) return text;
  }
  fail(whole, key, found + did_you_mean(text, spec.choices), "one of " + join(spec.choices));
}

std::map<std::string, ArgumentValue> resolve(std::string_view whole, const Call& call,
                                             std::span<const ArgumentSpec> specs) {
  std::map<std::string, ArgumentValue> values;
  std::vector<std::string> names;
  for (const ArgumentSpec& spec : specs) {
    values[spec.name] = spec.fallback;
    names.push_back(spec.name);
  }
  for (const auto& [key, text] : call.arguments) {
    const ArgumentSpec* spec = nullptr;
    for (const ArgumentSpec& candidate : specs) {
      if (candidate.name == key) spec = &candidate;
    }
    if (spec == nullptr) {
      fail(whole, call.name, "argument '" + key + "'" + did_you_mean(key, names),
           names.empty() ? "no arguments" : "one of " + join(names));
    }
    values[key] = read_value(whole, call.name, *spec, text);
  }
  return values;
}

std::string print_call(const std::string& name, std::span<const ArgumentSpec> specs,
                       const std::map<std::string, ArgumentValue>& values) {
  std::vector<std::string> parts;
  for (const ArgumentSpec& spec : specs) {
    const ArgumentValue& value = values.at(spec.name);
    if (spec.always_printed || value != spec.fallback) {
      parts.push_back(spec.name + "=" + print_value(value));
    }
  }
  return parts.empty() ? name : name + "(" + join(parts, ",") + ")";
}

CodecSpec parse_codec_within(std::string_view whole, std::string_view text) {
  const Call call = parse_call(whole, text);
  std::vector<std::string> names;
  for (const CodecEntry& entry : codec_table()) {
    names.push_back(entry.name);
    if (entry.name != call.name) continue;
    CodecSpec codec = entry.base;
    for (const auto& [key, value] : resolve(whole, call, entry.arguments)) {
      set_codec_argument(&codec, key, value);
    }
    return codec;
  }
  fail(whole, "codec", "'" + call.name + "'" + did_you_mean(call.name, names),
       "one of " + join(names));
}

}  // namespace

int64_t RetentionSpec::integer(const std::string& key) const {
  return std::get<int64_t>(arguments.at(key));
}
double RetentionSpec::number(const std::string& key) const {
  return std::get<double>(arguments.at(key));
}
const std::string& RetentionSpec::text(const std::string& key) const {
  return std::get<std::string>(arguments.at(key));
}

CodecSpec parse_codec(std::string_view text) { return parse_codec_within(text, text); }

std::string canonical(const CodecSpec& codec) {
  for (const CodecEntry& entry : codec_table()) {
    if (entry.base.kind != codec.kind) continue;
    std::map<std::string, ArgumentValue> values;
    for (const ArgumentSpec& argument : entry.arguments) {
      values[argument.name] = codec_argument(codec, argument.name);
    }
    return print_call(entry.name, entry.arguments, values);
  }
  check_failed("a codec without a row", __FILE__, __LINE__, "model/codecs.cpp");
}

Method Method::parse(std::string_view text) {
  if (text.size() > kLongestMethod) {
    fail(text.substr(0, 40), "", std::to_string(text.size()) + " characters",
         "at most " + std::to_string(kLongestMethod));
  }
  const std::vector<std::string> parts = split_outside(text, '+');
  Method method;
  const Call call = parse_call(text, parts[0]);
  const PolicyEntry& policy = find_policy(call.name);
  method.retention.name = policy.name;
  method.retention.arguments = resolve(text, call, policy.arguments);

  bool window_given = false;
  bool bank_given = false;
  for (size_t i = 1; i < parts.size(); ++i) {
    std::string_view part = trim(parts[i]);
    const auto takes = [&part](std::string_view prefix) {
      if (part.substr(0, prefix.size()) != prefix) return false;
      part.remove_prefix(prefix.size());
      return true;
    };
    const bool window = takes("window:");
    const bool bank = !window && takes("bank:");
    const CodecSpec codec = parse_codec_within(text, part);
    const bool to_window = window || !bank;
    const bool to_bank = bank || !window;
    if ((to_window && window_given) || (to_bank && bank_given)) {
      fail(text, "codec", "'" + parts[i] + "' after another", "one codec a place");
    }
    if (to_window) method.window_codec = codec;
    if (to_bank) method.bank_codec = codec;
    window_given |= to_window;
    bank_given |= to_bank;
  }
  make_policy(method);  // rejects combinations that no single argument can rule out
  return method;
}

std::string Method::canonical() const {
  const PolicyEntry& policy = find_policy(retention.name);
  std::string text = print_call(policy.name, policy.arguments, retention.arguments);
  if (window_codec == bank_codec) {
    if (!(window_codec == CodecSpec())) text += "+" + kvg::canonical(window_codec);
    return text;
  }
  if (!(window_codec == CodecSpec())) text += "+window:" + kvg::canonical(window_codec);
  if (!(bank_codec == CodecSpec())) text += "+bank:" + kvg::canonical(bank_codec);
  return text;
}

std::vector<Method> parse_methods(std::string_view text) {
  std::vector<Method> methods;
  for (const std::string& part : split_outside(text, ','))
    methods.push_back(Method::parse(trim(part)));
  return methods;
}

}  // namespace kvg
