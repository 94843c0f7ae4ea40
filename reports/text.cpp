#include "reports/text.h"

#include <array>
#include <cmath>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Length of the well-formed sequence (Unicode table 3-7) at `at`, or 0.
size_t sequence_length(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                        : lead >= 0xE0 && lead <= 0xEF ? 3
                        : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                       : 0;
  if (length == 0 || at + length > bytes.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(byte(i))) return 0;
  }
  const unsigned char second = byte(1);
  const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
  const bool surrogate = lead == 0xED && second > 0x9F;
  const bool beyond = lead == 0xF4 && second > 0x8F;
  return overlong || surrogate || beyond ? 0 : length;
}

bool is_control(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1)
    return (first < 0x20 && first != '\t' && first != '\n') || first == 0x7F;
  // U+0080..U+009F, and U+FFFE, U+FFFF, which XML does not allow.
  if (sequence.size() == 2) return first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
  return sequence == "\xEF\xBF\xBE" || sequence == "\xEF\xBF\xBF";
}

std::string replace_each(std::string_view text, std::string_view (*replacement)(char)) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const std::string_view with = replacement(c);
    if (with.empty()) {
      out += c;
    } else {
      out += with;
    }
  }
  return out;
}

}  // namespace

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const size_t length = sequence_length(bytes, at);
    const std::string_view sequence = bytes.substr(at, length);
    out += length == 0 || is_control(sequence) ? kReplacement : sequence;
    at += length == 0 ? 1 : length;
  }
  return out;
}

std::string escape_html(std::string_view bytes) {
  return replace_each(valid_utf8(bytes), [](char c) -> std::string_view {
    switch (c) {
      case '&':
        return "&amp;";
      case '<':
        return "&lt;";
      case '>':
        return "&gt;";
      case '"':
        return "&quot;";
      case '\'':
        return "&#39;";
      default:
        return {};
    }
  });
}

std::string markdown_cell(std::string_view bytes) {
  return replace_each(valid_utf8(bytes), [](char c) -> std::string_view {
    switch (c) {
      case '|':
        return "\\|";
      case '\n':
      case '\t':
        return " ";
      case '<':
        return "&lt;";
      case '*':
        return "\\*";
      case '_':
        return "\\_";
      case '`':
        return "\\`";
      case '[':
        return "\\[";
      case '\\':
        return "\\\\";
      default:
        return {};
    }
  });
}

std::string csv_field(std::string_view bytes) {
  const std::string text = valid_utf8(bytes);
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

size_t character_count(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += is_continuation(static_cast<unsigned char>(c)) ? 0 : 1;
  return count;
}

std::string shorten(std::string_view text, size_t limit) {
  const std::string clean = valid_utf8(text);
  if (character_count(clean) <= limit) return clean;
  size_t at = 0;
  for (size_t kept = 0; kept < limit; ++kept) at += sequence_length(clean, at);
  return clean.substr(0, at) + "...";
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return "n/a";
  const std::string digits = fmt::format("{:.{}f}", std::abs(value), decimals);
  const bool zero = digits.find_first_not_of("0.") == std::string::npos;
  return value < 0 && !zero ? fmt::format("\u2212{}", digits) : digits;
}

std::string signed_fixed(double value, int decimals) {
  const std::string text = fixed(value, decimals);
  const bool zero = text.find_first_not_of("0.") == std::string::npos;
  return value > 0 && !zero && std::isfinite(value) ? fmt::format("+{}", text) : text;
}

std::string percent(double share, int decimals) {
  return std::isfinite(share) ? fixed(share * 100, decimals) + "\u00A0%" : "n/a";
}

std::string thousands(int64_t value) {
  const std::string digits = std::to_string(value);
  const size_t start = value < 0 ? 1 : 0;
  std::string out;
  for (size_t at = 0; at < digits.size(); ++at) {
    if (at > start && (digits.size() - at) % 3 == 0) out += ',';
    out += digits[at];
  }
  return out;
}

std::string human_bytes(double bytes) {
  constexpr std::array<std::string_view, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  if (!std::isfinite(bytes)) return "n/a";
  size_t unit = 0;
  // 999.5 and more would print as a four-digit number of the smaller unit.
  while (unit + 1 < kUnits.size() && bytes >= (unit == 0 ? 1000 : 999.5)) {
    bytes /= 1000;
    ++unit;
  }
  const int decimals = unit == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}\u00A0{}", bytes, decimals, kUnits[unit]);
}

std::string p_value(double p) {
  if (!std::isfinite(p)) return "n/a";
  return p < 0.001 ? "<\u00A00.001" : fmt::format("{:.3f}", p);
}

}  // namespace kvg::reports
