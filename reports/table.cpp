#include "reports/table.h"

#include "base/aligned.h"
#include "reports/text.h"

#include <algorithm>

#include <fmt/format.h>

namespace kvg::reports {

namespace {

std::string html_cell(const Cell& cell, bool number) {
  std::string out =
      fmt::format("<td{}{}>", number ? " class=\"n\"" : "",
                  cell.note.empty() ? "" : fmt::format(" title=\"{}\"", escape_html(cell.note)));
  if (!cell.swatch.empty()) out += fmt::format("<i class=\"sw {}\"></i>", cell.swatch);
  if (cell.verdict) out += verdict_chip(*cell.verdict) + " ";
  out += escape_html(cell.text);
  if (!cell.detail.empty()) out += fmt::format("<small>{}</small>", escape_html(cell.detail));
  return out + "</td>";
}

}  // namespace

std::string verdict_word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kBetter:
      return "better";
    case Verdict::kWorse:
      return "worse";
    case Verdict::kSame:
      return "same";
    case Verdict::kInconclusive:
      break;
  }
  return "unclear";
}

std::string verdict_chip(Verdict verdict) {
  const std::string word = verdict_word(verdict);
  return fmt::format("<b class=\"v v-{0}\">{0}</b>", word);
}

std::string to_html(const Table& table) {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const Column& column : table.columns) {
    out += fmt::format(
        "<th{}>{}{}</th>", column.number ? " class=\"n\"" : "", escape_html(column.title),
        column.detail.empty() ? "" : fmt::format("<small>{}</small>", escape_html(column.detail)));
  }
  out += "</tr></thead>\n<tbody>\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const bool rule = std::find(table.rules.begin(), table.rules.end(), r) != table.rules.end();
    out += rule ? "<tr class=\"rule\">" : "<tr>";
    for (size_t c = 0; c < table.rows[r].size(); ++c) {
      out += html_cell(table.rows[r][c], table.columns[c].number);
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

std::string to_markdown(const Table& table) {
  std::string out = "|", line = "|";
  for (const Column& column : table.columns) {
    out += " " + markdown_cell(column.title);
    if (!column.detail.empty()) out += fmt::format(" ({})", markdown_cell(column.detail));
    out += " |";
    line += column.number ? " ---: |" : " --- |";
  }
  out += "\n" + line + "\n";
  for (const auto& row : table.rows) {
    out += "|";
    for (const Cell& cell : row) {
      out += " ";
      if (cell.verdict) out += fmt::format("**{}** ", verdict_word(*cell.verdict));
      out += markdown_cell(cell.text);
      if (!cell.detail.empty()) out += " " + markdown_cell(cell.detail);
      out += " |";
    }
    out += "\n";
  }
  return out;
}

std::string to_text(const Table& table) {
  std::vector<std::vector<std::string>> rows(1);
  for (const Column& column : table.columns) rows[0].push_back(valid_utf8(column.title));
  for (const auto& row : table.rows) {
    rows.emplace_back();
    for (const Cell& cell : row) {
      std::string text = cell.verdict ? verdict_word(*cell.verdict) + " " + cell.text : cell.text;
      if (!cell.detail.empty()) text += (text.empty() ? "" : " ") + cell.detail;
      rows.back().push_back(valid_utf8(text));
    }
  }
  std::vector<bool> left;
  for (const Column& column : table.columns) left.push_back(!column.number);
  std::string out;
  for (const std::string& line : align_columns(rows, left)) out += line + "\n";
  return out;
}

}  // namespace kvg::reports
