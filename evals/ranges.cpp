#include "evals/ranges.h"

#include "base/error.h"
#include "base/names.h"

#include <charconv>
#include <cmath>
#include <limits>

namespace kvg {
namespace {

constexpr size_t kMaxListLength = 10000;
constexpr std::string_view kCountSyntax = "a whole number such as 512, 4k or 1M";

[[noreturn]] void reject(std::string_view text, std::string_view where, std::string_view key,
                         std::string_view expected) {
  throw Error(where, key, "'" + std::string(text) + "'", expected);
}

void append_range(std::string_view item, size_t dots, std::string_view where, std::string_view key,
                  std::vector<int64_t>* values) {
  std::string_view last_text = item.substr(dots + 2);
  const size_t step_at = last_text.find_first_of("*+");
  const bool multiply = step_at != std::string_view::npos && last_text[step_at] == '*';
  int64_t step = 1;
  if (step_at != std::string_view::npos) {
    step = parse_count(last_text.substr(step_at + 1), where, key);
    last_text = last_text.substr(0, step_at);
  }
  const int64_t first = parse_count(item.substr(0, dots), where, key);
  const int64_t last = parse_count(last_text, where, key);
  if (first > last) reject(item, where, key, "a range that goes up");
  if (step < (multiply ? 2 : 1) || (multiply && first == 0)) {
    reject(item, where, key, "a range that moves: a*factor of at least 2 from above 0, or a +step");
  }
  for (int64_t value = first; value <= last;) {
    values->push_back(value);
    if (values->size() > kMaxListLength) reject(item, where, key, "at most 10000 values");
    if (multiply ? value > last / step : value > last - step) break;
    value = multiply ? value * step : value + step;
  }
}

}  // namespace

int64_t parse_count(std::string_view text, std::string_view where, std::string_view key) {
  std::string_view digits = trim(text);
  int64_t unit = 1;
  if (!digits.empty() && (digits.back() == 'k' || digits.back() == 'K')) unit = 1024;
  if (!digits.empty() && digits.back() == 'M') unit = 1024 * 1024;
  if (unit > 1) digits.remove_suffix(1);
  int64_t value = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (status != std::errc() || end != digits.data() + digits.size() || value < 0 ||
      value > std::numeric_limits<int64_t>::max() / unit) {
    reject(text, where, key, kCountSyntax);
  }
  return value * unit;
}

std::vector<int64_t> parse_counts(std::string_view text, std::string_view where,
                                  std::string_view key) {
  std::vector<int64_t> values;
  for (const std::string& part : split(text, ',')) {
    const std::string_view item = trim(part);
    const size_t dots = item.find("..");
    if (dots == std::string_view::npos) {
      values.push_back(parse_count(item, where, key));
    } else {
      append_range(item, dots, where, key, &values);
    }
  }
  return values;
}

double parse_number(std::string_view text, std::string_view where, std::string_view key) {
  const std::string_view digits = trim(text);
  double value = 0;
  const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (status != std::errc() || end != digits.data() + digits.size() || !std::isfinite(value)) {
    reject(text, where, key, "a number");
  }
  return value;
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> parts;
  int depth = 0;
  size_t start = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const char c = i < text.size() ? text[i] : ',';
    depth += c == '(' ? 1 : c == ')' ? -1 : 0;
    if (i < text.size() && (c != ',' || depth > 0)) continue;
    const std::string_view part = trim(text.substr(start, i - start));
    if (!part.empty()) parts.emplace_back(part);
    start = i + 1;
  }
  return parts;
}

}  // namespace kvg
