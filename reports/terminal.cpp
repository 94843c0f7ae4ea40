#include "reports/terminal.h"

#include "reports/summary.h"
#include "reports/table.h"
#include "reports/tables.h"
#include "reports/text.h"

namespace kvg::reports {

std::string terminal_text(const Digest& digest) {
  const Summary summary = summarise(digest);
  std::string text = summary.measured + "\n\n";
  for (const auto& group : rows_of(digest.leading_measures())) {
    Table table = result_table(digest, group);
    // Intervals would not fit a line; they stand in the report.
    for (auto& row : table.rows) {
      if (!row[1].detail.empty()) row[1].text += ", " + row[1].detail;
      for (Cell& cell : row) cell.detail.clear();
    }
    text += to_text(table) + "\n";
  }
  for (const std::string& sentence : summary.main) text += sentence + "\n";
  if (const std::string why = incompleteness(*digest.run); !why.empty()) {
    text += "INCOMPLETE: " + why + "\n";
  }
  return valid_utf8(text);
}

}  // namespace kvg::reports
