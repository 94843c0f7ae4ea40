#include "reports/terminal.h"

#include "reports/summary.h"
#include "reports/table.h"
#include "reports/tables.h"

#include <algorithm>
#include <vector>

namespace kvg::reports {

namespace {

// Display width: UTF-8 continuation bytes take no room.
size_t width(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string cell_text(const Cell& cell) {
  std::string text = cell.verdict ? verdict_word(*cell.verdict) + " " + cell.text : cell.text;
  if (!cell.detail.empty()) text += (text.empty() ? "" : " ") + cell.detail;
  return text;
}

std::string aligned(const Table& table) {
  std::vector<std::vector<std::string>> rows(1);
  for (const Column& column : table.columns) rows[0].push_back(column.title);
  for (const auto& row : table.rows) {
    rows.emplace_back();
    for (const Cell& cell : row) rows.back().push_back(cell_text(cell));
  }
  std::vector<size_t> widths(table.columns.size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - width(row[i]), ' ');
      line += (i > 0 ? "  " : "") + (table.columns[i].number ? pad + row[i] : row[i] + pad);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

}  // namespace

std::string terminal_text(const Digest& digest) {
  const Summary summary = summarise(digest);
  std::string text = summary.measured + "\n\n" + aligned(result_table(digest)) + "\n";
  for (const std::string& sentence : summary.main) text += sentence + "\n";
  if (const std::string why = incompleteness(*digest.run); !why.empty()) {
    text += "INCOMPLETE: " + why + "\n";
  }
  return text;
}

}  // namespace kvg::reports
