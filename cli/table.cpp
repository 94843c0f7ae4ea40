#include "cli/table.h"

#include "base/aligned.h"

#include <algorithm>
#include <cstdint>

namespace kvg::cli {

std::string Table::text() const {
  std::vector<bool> left(rows_[0].size());
  std::fill_n(left.begin(), left_, true);
  std::vector<std::vector<std::string>> rows = rows_;
  // A rule below the header, as wide as each column.
  std::vector<size_t> widths(left.size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::vector<std::string> rule;
  for (const size_t width : widths) rule.emplace_back(width, '-');
  rows.insert(rows.begin() + 1, std::move(rule));
  std::string out;
  for (const std::string& line : align_columns(rows, left)) out += line + "\n";
  return out;
}

std::string Table::csv() const {
  std::string out;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) out += ",";
      if (row[i].find_first_of(",\"\n") == std::string::npos) {
        out += row[i];
        continue;
      }
      out += '"';
      for (const char c : row[i]) out += c == '"' ? std::string("\"\"") : std::string(1, c);
      out += '"';
    }
    out += "\n";
  }
  return out;
}

std::string with_commas(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto i = static_cast<int64_t>(digits.size()) - 3; i > (value < 0 ? 1 : 0); i -= 3) {
    digits.insert(static_cast<size_t>(i), ",");
  }
  return digits;
}

}  // namespace kvg::cli
