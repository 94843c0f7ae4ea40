#include "base/error.h"

namespace kvg {

namespace {

std::string compose(std::string_view where, std::string_view key, std::string_view found,
                    std::string_view expected) {
  std::string line = printable(where, 400);
  const auto part = [&line](std::string_view prefix, std::string_view text) {
    if (text.empty()) return;
    if (!line.empty()) line += prefix;
    line += printable(text, 400);
  };
  part(": ", key);
  part(": found ", found);
  part(found.empty() ? ": expected " : ", expected ", expected);
  return line;
}

}  // namespace

Error::Error(std::string_view where, std::string_view key, std::string_view found,
             std::string_view expected)
    : std::runtime_error(compose(where, key, found, expected)) {}

std::string printable(std::string_view text, size_t limit) {
  std::string out;
  for (const char c : text) {
    if (out.size() >= limit) {
      out += "...";
      break;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return out;
}

void check_failed(const char* condition, const char* file, int line, std::string_view message) {
  throw std::logic_error(std::string(file) + ":" + std::to_string(line) + ": " + condition + ": " +
                         std::string(message));
}

}  // namespace kvg
